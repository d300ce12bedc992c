what='a sighting lasts for ever'
check=calm_over
runs='records-10 0..3'
replace crates/kodikon-core/src/model/record.rs '0,/Duration::from_millis\(self\.ttl_ms\)\.min\(MAX_TTL\)/s//{ let _ = self.ttl_ms; MAX_TTL }/'
