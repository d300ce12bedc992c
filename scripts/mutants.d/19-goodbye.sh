what='the dead are kept among the living for ever: no verdict is carried out'
check=calm_dead_gone
runs='half-crash 0..3'
replace crates/kodikon-core/src/machines/membership/verdicts.rs 's/^(\s*)ctx\.roster\.set_liveness\(now, \&subject, Liveness::Failed, reason\);/\1ctx.roster.set_liveness(now, \&subject, Liveness::Alive, reason);/'
