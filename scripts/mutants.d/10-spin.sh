what='the digest is asked for again without its deadline being moved'
check=no_spin
runs='pauses 0..4
cold-start-10 0..4'
replace crates/kodikon-core/src/machines/liveness/isolation.rs 's/^(\s*)self\.next_look = now \+ LOOK_EVERY;/\1self.next_look = self.next_look.max(Instant::ZERO);/'
