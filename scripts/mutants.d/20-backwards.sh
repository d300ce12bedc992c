what='an older state of a peer replaces a newer one that was shown'
check=version_forward
runs='swarm-10 0..20'
replace crates/kodikon-core/src/machines/replication/lane.rs 's/if held\.is_some_and\(\|held\| held\.op\.seq\(\) >= seq\)/if held.is_some_and(|held| held.op.seq() == seq)/'
