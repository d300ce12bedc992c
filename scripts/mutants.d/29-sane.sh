what='a way is shown that begins at one who is not heard'
check=route_sane
runs='swarm-5 0..20
grid-9 0..10
swarm-10 0..20'
replace crates/kodikon-core/src/node/views.rs 's/\.filter\(begins_near\)//'
