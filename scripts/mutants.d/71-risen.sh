what='what was taken back is shown when it comes late'
check=record_gone
runs='records-races 0..6
records-partition 0..3
records-swarm-10 0..10'
replace crates/kodikon-core/src/machines/registry.rs 's/if is_dead \|\| current/if current/'
