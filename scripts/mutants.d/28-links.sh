what='links are told once and never again'
check=false_failed
runs='ring-6 0..6
grid-9 0..6
line-7 0..6'
replace crates/kodikon-core/src/machines/routing.rs 's/self\.told\.differs\(&links, &own::lists/self.full_at == Instant::ZERO \&\& self.told.differs(\&links, \&own::lists/'
