what='an older run is believed after a newer'
check=life_forward
runs='restored-backup 0..10
clone 0..10
swarm-10 0..10'
replace crates/kodikon-core/src/machines/membership.rs 's/if ctx\.roster\.highest_epoch\(\&id\)\.is_some_and\(\|known\| op\.epoch\(\) < known\)/if ctx.roster.highest_epoch(\&id).is_some_and(|known| op.epoch() < known \&\& false)/' 's/\(op\.epoch\(\), op\.seq\(\)\) > \(peer\.epoch\(\), peer\.signed\.seq\(\)\)/(op.epoch(), op.seq()) != (peer.epoch(), peer.signed.seq())/' 's/\.filter\(\|held\| \(held\.epoch\(\), held\.seq\(\)\) > \(op\.epoch\(\), op\.seq\(\)\)\)/.filter(|held| held.epoch() == op.epoch() \&\& held.seq() > op.seq())/'
replace crates/kodikon-core/src/node/arrivals.rs 's/\.is_some_and\(\|known\| proof\.card\.epoch\(\) < known\)/.is_some_and(|known| proof.card.epoch() < known \&\& false)/'
