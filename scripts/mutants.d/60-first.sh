what='what is critical waits until nothing else does'
check=letter_urgent
runs='bulk-beside-critical 0..2
congested-link 0..2'
replace crates/kodikon-core/src/ground/fair.rs 's/if first\.is_some\(\) \&\& self\.lead < LEAD/if false \&\& first.is_some()/'
