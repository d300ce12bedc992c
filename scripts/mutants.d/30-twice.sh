what='a letter that comes once more by another way is handed over once more'
check=letter_once
runs='letters-5-hops 0..4 --no-mild
letters-loss-20 0..6 --no-mild'
replace crates/kodikon-core/src/model/windows.rs 's/if number <= self\.highest && self\.seen\[word\] & bit != 0 \{ Arrived::Before \}/if number == u64::MAX { Arrived::Before }/'
