what='a search waits for others for ever'
check=search_ends
runs='search-partition 0..6
search-line-5 0..6'
replace crates/kodikon-core/src/machines/search.rs 's/\[own, self\.answering\.next_deadline\(\), self\.asking\.next_deadline\(\)\]/[own, self.answering.next_deadline(), None]/' \
    's/        self\.asking\.on_wake\(now, ctx\);/        _ = \&self.asking;/'
