what='an older card is believed after a newer'
check=life_forward
runs='restored-backup 0..10
swarm-10 0..10
hostile-member 0..8'
replace crates/kodikon-core/src/machines/membership.rs 's/if ctx\.roster\.highest_epoch\(\&id\)\.is_some_and\(\|known\| op\.epoch\(\) < known\)/if ctx.roster.highest_epoch(\&id).is_some_and(|known| op.epoch() < known \&\& false)/' 's/\(op\.epoch\(\), op\.seq\(\)\) > \(peer\.epoch\(\), peer\.signed\.seq\(\)\)/(op.epoch(), op.seq()) != (peer.epoch(), peer.signed.seq())/'
