what='what comes last of a sighting counts, and not what was said last'
check=calm_records
runs='records-races 0..6
records-swarm-10 0..12
records-partition 0..3'
replace crates/kodikon-core/src/machines/registry.rs 's/current\.is_some_and\(\|current\| current > id\)/current.is_some_and(|current| current > id \&\& id.seq.0 == 0)/'
