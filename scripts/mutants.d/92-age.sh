what='a frame that brings a cast is taken for one that was just sent, whatever its giver'"'"'s clock says'
check=cast_once
runs='swarm-5 0..10
swarm-5 10..40'
replace crates/kodikon-core/src/wire/clock.rs 's/Duration::from_millis\(lead\)\.saturating_add/Duration::from_millis(lead.min(0)).saturating_add/'
