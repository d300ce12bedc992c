what='a sighting is acknowledged as kept before the disk has answered'
check=record_kept
runs='records-10 0..3'
replace crates/kodikon-core/src/machines/replication/log/records.rs 's/^( *)(self\.own\.orders\.open\.insert\(ticket, Open \{ left, ids, durable: true \}\);)/\1\2\n\1let first: BTreeSet<OpId> = self.own.records.keys().copied().collect();\n\1self.release_own(now, \&first, true, ctx);/'
