what='what was taken back is lacked again, and shown when another that does not know it yet gives it'
check=record_gone
runs='records-races 0..6
records-partition 0..3
records-swarm-10 0..10'
replace crates/kodikon-core/src/machines/registry.rs 's/if is_dead \|\| current/if current/'
replace crates/kodikon-core/src/machines/replication/log/lane.rs 's/^( *)self\.part = self\.part\.wrapping_sub\(held\.digest\);/&\n\1self.covered = self.covered.without(\&Intervals::of([seq.0].into_iter()));/'
