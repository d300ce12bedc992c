what='a search is called certain though not all who were asked have answered'
check=search_exact
runs='search-12-loss 0..6'
replace crates/kodikon-core/src/machines/search/asking.rs 's/let certified = certified && responded == of;/let certified = certified \&\& responded <= of;/'
