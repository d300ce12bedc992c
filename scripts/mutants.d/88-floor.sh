what='whoever is asked leaves out what scores as much as the last that the asker has'
check=search_exact
runs='search-12-loss 0..6'
replace crates/kodikon-core/src/machines/search.rs 's/found\.score >= floor/found.score > floor/'
