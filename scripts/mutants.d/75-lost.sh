what='what is held in memory alone is covered on disk'
check=calm_kept
runs='records-disks 0..6
records-disk-fails 0..6'
replace crates/kodikon-core/src/machines/replication/log/lane.rs 's/self\.covered\.without\(unkept\)/{ let _ = unkept; self.covered.clone() }/'
