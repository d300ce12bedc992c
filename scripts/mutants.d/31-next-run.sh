what='what was said to a run of a node is said to its next'
check=letter_once
runs='letters-grid-9 0..6 --no-mild
swarm-5 0..20'
replace crates/kodikon-core/src/machines/messages/origin.rs 's/begun_for != epoch\)/begun_for != epoch \&\& epoch == Epoch(0))/'
replace crates/kodikon-core/src/machines/messages/outgoing.rs 's/\.filter\(\|\(known, _\)\| \*known == epoch\)/.filter(|(known, _)| *known >= epoch)/'
