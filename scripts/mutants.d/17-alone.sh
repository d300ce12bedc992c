what='who felt alone once does so for ever'
check=calm_company
runs='silence 0..3
partition 0..3'
replace crates/kodikon-core/src/machines/liveness/isolation.rs 's/self\.isolated = isolated;/self.isolated = true;/'
