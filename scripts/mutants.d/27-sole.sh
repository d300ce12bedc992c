what='nobody is the only one that can tell of a far author'
check=calm_root
runs='line-7 0..4'
replace crates/kodikon-core/src/node/far.rs 's/^                sole\.insert\(author\);//'
