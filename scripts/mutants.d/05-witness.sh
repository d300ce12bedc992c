what='one witness is enough, whoever it is'
check=false_failed
runs='hostile-member 0..8
loss-20 0..12'
replace crates/kodikon-core/src/machines/membership/verdicts.rs 's/if witnesses\.len\(\) < needed \{/if witnesses.is_empty() {/' 's/let is_afar = .*/let is_afar = false;/' 's/let is_free = .*/let is_free = true;/'
