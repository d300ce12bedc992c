what='to decline a search that was handed over is taken for an answer'
check=search_exact
runs='search-busy 0..6'
replace crates/kodikon-core/src/machines/search/asking.rs 's/is_handed && answer\.declined == Some\(true\)/is_handed \&\& answer.declined.is_none() \&\& false/' 's/asked\.certified &= answer\.certified && /asked.certified \&= (answer.certified || answer.declined == Some(true)) \&\& /'
