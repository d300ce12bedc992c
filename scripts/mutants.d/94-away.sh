what='whoever was silent for long is heard again without an answer'
check=dead_stay_dead
runs='swarm-10 11'
replace crates/kodikon-core/src/machines/membership.rs 's/ && peer\.silence\(now\) < hearing => peer/ => peer/'
