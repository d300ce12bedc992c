what='of one author everything is held that it signs'
check=tables
runs='hostile-member 0..4'
replace crates/kodikon-core/src/machines/replication/limits.rs 's/share\.count < class\.count\(\) \&\& share\.bytes \+ bytes <= class\.bytes\(\)/share.count < usize::MAX \&\& share.bytes + bytes < usize::MAX/'
