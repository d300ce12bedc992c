what='whoever waits for a stream asks for nothing in datagrams, and waits for ever'
check=calm_records
runs='records-pull-no-tcp 0..4'
replace crates/kodikon-core/src/machines/replication/log/bulk.rs 's/self\.source\(\)\.is_some\(\)/self.taking.is_some()/; s/self\.bulk\.avoid\(now, peer, REFUSED\);/return self.want_pipe(now, peer, ctx);/'
