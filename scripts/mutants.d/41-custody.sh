what='a cast is given once and neither repeated nor offered'
check=cast_reliable
runs='broadcast-loss-20 0..2 --no-mild'
replace crates/kodikon-core/src/machines/broadcast/duty.rs 's/Some\(now \+ rto\)\);/Some(now + rto).filter(|_| self.rounds > 9));/'
replace crates/kodikon-core/src/machines/broadcast/offers.rs 's/let due = now \+ ROUNDS\[0\]/let due = now + Duration::from_secs(3_600) + ROUNDS[0]/'
