what='nobody believes what is covered, so roots stay apart'
check=calm_root
runs='readdress 0..3
swarm-5 0..3'
replace crates/kodikon-core/src/machines/replication/hearsay.rs 's/is_sole \|\| from == author \|\| self\.is_confirmed\(from, told\)/false/'
