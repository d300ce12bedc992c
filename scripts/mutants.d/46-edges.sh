what='one end is believed of a direct link'
check=route_sane
runs='hostile-liar 0..4 --no-mild'
replace crates/kodikon-core/src/machines/routing/map/graph.rs 's/\(\*node, \*peer\)\)\.ok\(\)\?;/(*node, *peer)).unwrap_or(0);/'
