what='two who say that a process ended are believed against our own ears'
check=false_failed
runs='hostile-member 0..4'
replace crates/kodikon-core/src/machines/membership/verdicts.rs 's/ \&\& !\(is_end \&\& peer\.seems_ended\(\)\);/ \&\& !is_end;/' 's/let is_enough = is_end \&\& peer\.seems_ended\(\);/let is_enough = is_end;/'
