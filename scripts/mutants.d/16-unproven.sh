what='a HELLO is believed without a challenge'
check=known_peer
runs='hostile-member 0..3'
replace crates/kodikon-core/src/node/arrivals.rs 's/Message::Hello\(hello\) => match self\.on_strange_hello\(tag, arrival, hello\)/Message::Hello(hello) => match ({ if let Some(card) = read_card(\&hello.card) { let op = hello.card.clone(); self.membership.prove(now, op, card, arrival, \&mut self.ctx); } }, self.on_strange_hello(tag, arrival, hello)).1/'
