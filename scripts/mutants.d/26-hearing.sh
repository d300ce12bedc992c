what='a silent node on our own segment is taken for far at once'
check=dead_stay_dead
runs='swarm-10 0..20
swarm-5 0..20'
replace crates/kodikon-core/src/node/far.rs 's/may_live && \(is_long \|\| !self\.is_within_hearing\(&id, &card\)\)/may_live/'
