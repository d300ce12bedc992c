what='an answer goes by the map and not back by whom the letter came'
check=letter_reliable
runs='letters-swallowed 0..6'
replace crates/kodikon-core/src/node/letters.rs 's/question\.back\.filter\(may_return\)/question.back.filter(|hop| *hop == question.to \&\& may_return(hop))/'
