what='within one run an older value of a state key replaces a newer'
check=version_forward
runs='bursty-loss 0..30
swarm-10 0..40'
replace crates/kodikon-core/src/machines/replication/lane.rs 's/if held\.is_some_and\(\|held\| held\.op\.seq\(\) >= seq\)/if held.is_some_and(|held| held.op.seq() == seq)/'
