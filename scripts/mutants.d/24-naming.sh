what='a name of a segment is believed without a question'
check=false_failed
runs='ring-6 0..10
swarm-10 0..10'
replace crates/kodikon-core/src/machines/routing.rs 's/if is_ours \|\| naming\.nonce.*$/if true {/'
