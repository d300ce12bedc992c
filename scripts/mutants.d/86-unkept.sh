what='what a stream brought counts as covered and is not kept'
check=calm_records
runs='records-pull 0..4'
replace crates/kodikon-core/src/machines/replication/log/bulk.rs 's/self\.place\(now, op, \(body, key, Born/if self.bulk.taking.is_some() { let _ = self.open_lane(\&id, key, ctx) \&\& self.lanes.get_mut(\&(id.author, id.epoch)).is_some_and(|lane| lane.cover_one(id.seq)); return; }\n        self.place(now, op, (body, key, Born/'
