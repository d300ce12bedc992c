what='a node counts a run that it never began'
check=real_epoch
runs='crash 0..3'
replace crates/kodikon-core/src/machines/membership.rs 's/let event = Event::PeerUp \{ peer: id, name: peer\.card\.shown_name\(\), epoch: peer\.epoch\(\), life/let event = Event::PeerUp { peer: id, name: peer.card.shown_name(), epoch: crate::ground::id::Epoch(peer.epoch().0 + 1), life/'
