what='the replay window lets everything pass'
check=replay
runs='hostile-member 0..4
crash 0..12'
replace crates/kodikon-core/src/wire/seal.rs 's/^(\s*)let fresh = self\.seen\[word\] \& bit == 0;/\1let fresh = true;/'
