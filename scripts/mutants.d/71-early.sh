what='a delete that came first is forgotten'
check=calm_records
runs='records-races 0..6
records-partition 0..3'
replace crates/kodikon-core/src/machines/registry.rs 's/if is_dead \|\| current\.is_some_and/if (is_dead \&\& false) || current.is_some_and/'
