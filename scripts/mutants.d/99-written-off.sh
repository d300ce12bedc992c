what='what comes back in the place of what was spoilt is removed from the disk with it'
check=calm_alerts
runs='records-rot 0..4'
replace crates/kodikon-core/src/machines/replication/log/keep.rs 's/^        self\.owed\.removed\.remove\(&id\);$/        let _ = \&id;/'
