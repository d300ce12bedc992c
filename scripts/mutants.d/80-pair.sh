what='a neighbour that is not heard for most of the hard bound makes nobody ask for the map'
check=false_failed
runs='pair-cut 0..3'
replace crates/kodikon-core/src/machines/routing.rs 's/if goes_on \|\| heard\.misses_some\(now, ctx\)/if goes_on/'
