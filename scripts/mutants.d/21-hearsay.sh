what='nobody believes what is covered, so roots stay apart'
check=calm_root
runs='late-joiner 0..3
loss-20 0..6'
replace crates/kodikon-core/src/machines/replication/hearsay.rs 's/is_sole \|\| from == author \|\| self\.is_confirmed\(from, told\)/false/'
