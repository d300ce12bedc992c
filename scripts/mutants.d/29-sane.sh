what='a way passes its own end twice'
check=route_sane
runs='line-7 0..2'
replace crates/kodikon-core/src/node/views.rs 's/path: way\.path, cost/path: way.path.into_iter().chain([to]).collect(), cost/'
