what='who says that it is on a segment is believed, whatever its namer lists'
check=route_sane
runs='hostile-liar 0..4 --no-mild'
replace crates/kodikon-core/src/machines/routing/map/graph.rs 's/if self\.marks\[member\.node as usize\] == segment as u32 \+ 1 \{/if segment < self.segments.len() {/'
