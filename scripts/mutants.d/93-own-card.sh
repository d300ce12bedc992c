what='a node takes its own card from before a sleep for that of a copy'
check=copy_true
runs='sleep 0..8'
replace crates/kodikon-core/src/node/ghosts.rs 's/let is_ours = .*/let is_ours = false;/'
