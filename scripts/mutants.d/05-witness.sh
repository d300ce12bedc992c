what='one witness is enough, and it need not have asked'
check=false_failed
runs='loss-20 0..12
loss-10 0..12'
replace crates/kodikon-core/src/machines/membership/verdicts.rs 's/\(others \+ 1\)\.clamp\(1, 2\)/(others * 0 + 1).clamp(1, 2)/' 's/let is_afar = .*/let is_afar = needed == 0;/'
replace crates/kodikon-core/src/machines/liveness/probes.rs 's/^const DIRECT_MS: \[u64; 7\] = .*/const DIRECT_MS: [u64; 7] = [0; 7];/'
