what='the original of a copied disk takes the run of its copy for its own past'
check=backup_true
runs='clone 0..20'
replace crates/kodikon-core/src/node/ghosts.rs 's/seen <= rival\.epoch/seen < rival.epoch/'
