what='a way passes its own end twice'
check=route_sane
runs='line-7 0..2'
replace crates/kodikon-core/src/node/views.rs 's/let \(path, cost, source\) = \(way\.path, way\.cost, /let (path, cost, source) = (way.path.into_iter().chain([to]).collect(), way.cost, /'
