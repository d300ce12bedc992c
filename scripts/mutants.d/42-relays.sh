what='a cast is given to the own segment alone, and offered nowhere'
check=cast_reliable
runs='broadcast-line-7 0..2 --no-mild'
replace crates/kodikon-core/src/node/casts.rs 's/Some\(mapped\) => mapped\.into_iter\(\)/Some(mapped) => mapped.into_iter().filter(|_| came.is_none())/'
replace crates/kodikon-core/src/machines/broadcast/offers.rs 's/let due = now \+ ROUNDS\[0\]/let due = now + Duration::from_secs(3_600) + ROUNDS[0]/'
