what='isolation looks again without its deadline being moved'
check=no_spin
runs='pauses 0..4
cold-start-10 0..4'
replace crates/kodikon-core/src/machines/liveness/isolation.rs 's/^(\s*)self\.next_look = if is_deaf .*;/\1self.next_look = self.next_look.min(tick);/'
