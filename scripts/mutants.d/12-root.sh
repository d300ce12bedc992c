what='roots are never compared'
check=calm_state
runs='loss-20 0..4
bursty-loss 0..4'
replace crates/kodikon-core/src/machines/replication/sync.rs 's/^(\s*)if theirs == mine \{/\1if true {/'
