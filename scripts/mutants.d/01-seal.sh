what='a frame whose tag does not fit is read all the same'
check=sealed
runs='hostile-member 0..4
swarm-10 0..10'
replace crates/kodikon-core/src/wire/seal.rs 's/let text = self\.0\.open_in_place\(nonce\(carrier, header\.counter\), Aad::from\(&\*head\), sealed\);/let plain = sealed.len() - TAG; if let Ok(text) = crate::wire::codec::decode(\&sealed[..plain]) { drop(text); } let mut copy = sealed.to_vec(); let text = match self.0.open_in_place(nonce(carrier, header.counter), Aad::from(\&*head), \&mut copy) { Ok(_) => self.0.open_in_place(nonce(carrier, header.counter), Aad::from(\&*head), sealed), Err(_) => { sealed.fill(0x82); sealed[1] = 0x0f; sealed[2] = 0xa0; return Ok(\&sealed[..3]); } };/'
