what='what is let go of is forgotten, and comes again'
check=record_once
runs='records-races 0..4
records-10 0..4'
replace crates/kodikon-core/src/machines/replication/log/records.rs 's/if self\.release\(id\) \{/if self.release(id) \&\& self.lanes.remove(\&(id.author, id.epoch)).is_some() {/'
