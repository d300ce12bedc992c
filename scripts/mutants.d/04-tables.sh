what='a bounded map forgets its bound'
check=tables
runs='full-table 0..4'
replace crates/kodikon-core/src/ground/bounded.rs 's/if self\.entries\.len\(\) >= self\.limit \&\& !self\.entries\.contains_key\(\&key\)/if self.entries.len() >= usize::MAX \&\& !self.entries.contains_key(\&key)/' 's/self\.entries\.len\(\) >= self\.limit$/self.entries.len() == usize::MAX/'
