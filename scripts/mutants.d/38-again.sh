what='a cast that comes once more is told once more'
check=cast_once
runs='broadcast-loss-20 0..2 --no-mild
broadcast-gateways 0..3'
replace crates/kodikon-core/src/machines/broadcast/taking.rs 's/id\.number\) != Arrived::New \{/id.number) != Arrived::New \&\& id.number == u64::MAX {/'
