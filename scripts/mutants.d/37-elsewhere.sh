what='a way is shown without its last link'
check=route_sane
runs='line-7 0..2'
replace crates/kodikon-core/src/node/views.rs 's/return Some\(RouteView \{ to, path: way\.path, /let mut path = way.path; if path.len() > 2 { path.pop(); } return Some(RouteView { to, path, /'
