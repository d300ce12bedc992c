what='what was said to the last run of a node is told to its next'
check=cast_once
runs='lost-disk 0..2
broadcast-grid-9 0..4 --no-mild'
replace crates/kodikon-core/src/machines/broadcast/taking.rs 's/let is_ours = way/let is_ours = true || way/'
