what='a HELLO is believed without a challenge'
check=known_peer
runs='hostile-member 0..3'
replace crates/kodikon-core/src/node/arrivals.rs 's/if known\.is_some_and\(\|known\| hello\.card\.epoch\(\) > known\) \{/if known.is_none_or(|known| hello.card.epoch() > known) {/'
