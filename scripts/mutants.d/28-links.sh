what='links are told in the first minute alone'
check=false_failed
runs='ring-6 0..6
grid-9 0..6
line-7 0..6'
replace crates/kodikon-core/src/machines/routing.rs 's/if !is_early && self\.told\.differs/if !is_early \&\& now < Instant::ZERO + Duration::from_secs(60) \&\& self.told.differs/'
