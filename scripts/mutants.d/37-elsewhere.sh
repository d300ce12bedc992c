what='a way is shown without its last link'
check=route_sane
runs='line-7 0..2'
replace crates/kodikon-core/src/node/views.rs 's/let \(path, cost, source\) = \(way\.path, way\.cost, RouteSource::Map\);/let mut path = way.path; if path.len() > 2 { path.pop(); } let (cost, source) = (way.cost, RouteSource::Map);/'
