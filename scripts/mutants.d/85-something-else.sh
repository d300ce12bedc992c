what='whoever holds something else scans in the place of another'
check=search_exact
runs='search-busy 0..6'
replace crates/kodikon-core/src/machines/search/answering.rs 's/asked\.root\.is_some_and\(\|theirs\| theirs != root \|\| /asked.root.is_some_and(|_| /'
