what='nobody is ever called dead: suspicion ends in nothing, and the hard bound lies an hour away'
check=verdict_in_time
runs='power-off 0..6
tcp-dropped 0..6'
replace crates/kodikon-core/src/machines/liveness.rs 's/^(\s*)ctx\.out\.notice\(Notice::Verdict\(id, REASON_SILENCE\)\);/\1let _ = (Notice::Verdict, id, REASON_SILENCE);/' 's/if silence >= bound && may_judge \{/if silence >= bound * 120 {/'
