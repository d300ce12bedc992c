what='a link is judged by the last few datagrams, and each judgement counts at once'
check=ways_rest
runs='lossy-random-30 0..2
lossy-ring 0..2'
replace crates/kodikon-core/src/machines/routing/quality.rs \
    's/const HALVE_AT: u32 = 256;/const HALVE_AT: u32 = 8;/' \
    's/const ENOUGH: u32 = 32;/const ENOUGH: u32 = 3;/' \
    's/const MARGIN: u32 = 50;/const MARGIN: u32 = 0;/' \
    's/const WORSE_AFTER: Duration = Duration::from_secs\(10\);/const WORSE_AFTER: Duration = Duration::from_millis(1);/' \
    's/const BETTER_AFTER: Duration = Duration::from_secs\(300\);/const BETTER_AFTER: Duration = Duration::from_millis(1);/'
