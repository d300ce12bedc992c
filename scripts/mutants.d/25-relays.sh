what='a far node is shown one relay farther than the way to it has'
check=calm_routes
runs='line-7 0..2
ring-6 0..2'
replace crates/kodikon-core/src/node/views.rs 's/then_some\(far\.relays\)/then_some(far.relays + 1)/'
