what='what a disk spoilt passes for what is over'
check=calm_kept
runs='records-rot 0..4'
replace crates/kodikon-core/src/machines/replication.rs 's/if !lost\.is_empty\(\) \{/if lost.len() > 99 {/'
