what='heartbeats and acknowledgements wait like what may be lost'
check=letter_urgent
runs='congested-link 0..3
bulk-beside-critical 0..2'
replace crates/kodikon-core/src/machines/shaper/classes.rs 's/\| Message::Canary => \(Class::Control, None\)/| Message::Canary => (Class::Low, None)/'
