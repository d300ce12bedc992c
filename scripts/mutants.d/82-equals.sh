what='equals come in the order in which they were placed, and not by their hash'
check=search_exact
runs='search-6 0..4'
replace crates/kodikon-core/src/model/entries.rs 's/\.cmp\(other\.hash_value\(\)\)/.len().cmp(\&other.hash_value().len())/'
