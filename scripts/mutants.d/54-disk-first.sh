what='an alert is told as kept before the disk has answered'
check=alert_receipt
runs='alerts-partition 0..2'
replace crates/kodikon-core/src/machines/replication/log/own.rs 's/if self\.keep\.is_failing\(\) \{/if self.keep.pending() == 0 {/' 's/BTreeSet::from\(\[id\]\), false, ctx/BTreeSet::from([id]), true, ctx/'
