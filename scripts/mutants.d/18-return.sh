what='who was called failed stays so'
check=calm_roster
runs='partition 0..3
silence 0..3'
replace crates/kodikon-core/src/machines/membership.rs 's/if self\.introductions\.is_answer\(\&id, nonce\)/if self.introductions.is_answer(\&id, nonce) \&\& ctx.roster.get(\&id).is_none_or(|peer| peer.liveness != Liveness::Failed)/'
