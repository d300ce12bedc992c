what='a node takes what it said itself in this run, when it comes back, for a sign that its disk was set back'
check=backup_true
runs='swarm-10 0..6
records-10 0..4'
replace crates/kodikon-core/src/machines/replication.rs 's/OpLane::Live => self\.own\.is_mine\(op, self\.lane\(&op\.author\(\)\)\),/OpLane::Live => false,/' 's/&& !self\.own\.is_mine\(&op, self\.lane\(&author\)\)/\&\& true/'
replace crates/kodikon-core/src/machines/replication/log.rs 's/if !self\.is_mine\(&op, ctx\) \{/if true {/'
