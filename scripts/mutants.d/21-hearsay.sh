what='nobody believes what is covered, so roots stay apart'
check=calm_root
runs='late-joiner 0..3
loss-20 0..6'
replace crates/kodikon-core/src/machines/replication/lane.rs 's/is_sole \|\| self\.is_believed\(from, told\)/false/'
