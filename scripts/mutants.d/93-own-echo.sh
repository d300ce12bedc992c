what='a node takes what it said itself, come back to it, for what a copy says'
check=copy_true
runs='cold-start-3 0..2'
replace crates/kodikon-core/src/node/ghosts.rs 's/if ours == theirs \{/if ours.0 != theirs.0 {/'
replace crates/kodikon-core/src/node/arrivals.rs 's/if header\.tag == self\.ctx\.me\.tag \{/if header.tag == SessionTag([0; 8]) {/'
