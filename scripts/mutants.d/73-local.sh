what='a sighting that stays here is said to all'
check=record_true
runs='records-10 0..3'
replace crates/kodikon-core/src/node/records.rs 's/let kind = if record\.local \{ OpKind::LocalRecord \}/let kind = if record.local { OpKind::Record }/'
