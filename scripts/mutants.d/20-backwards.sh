what='the version of a state is that of its last key, not its newest'
check=version_forward
runs='crash 0..4'
replace crates/kodikon-core/src/machines/replication/lane.rs 's/if entry\.version > snapshot\.version/if entry.version != snapshot.version/'
