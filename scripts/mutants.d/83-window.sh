what='whoever pulls by a stream allows more than it has room for'
check=tables
runs='records-pull 0..4'
replace crates/kodikon-core/src/machines/replication/log/bulk.rs 's/WINDOW\.saturating_sub\(self\.bulk\.checking\.bytes\(\)\)/WINDOW * 16/'
