what='a bounded map forgets its bound'
check=tables
runs='hostile-member 0..4
idle-100 0..1 --nodes 300'
replace crates/kodikon-core/src/ground/bounded.rs 's/if self\.entries\.len\(\) >= self\.limit \&\& !self\.entries\.contains_key\(\&key\)/if self.entries.len() >= usize::MAX \&\& !self.entries.contains_key(\&key)/'
