what='what others answer to a search is believed without a look at who signed it'
check=search_true
runs='search-liar 0..4'
replace crates/kodikon-core/src/machines/search/asking.rs 's/\.is_some_and\(\|key\| ctx\.verify_op\(found\.entry\.op\(\), &key\)\)/.is_none_or(|_| true)/'
