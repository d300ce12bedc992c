what='who is in the directory is never taken in again'
check=calm_roster
runs='partition 0..3
silence 0..3'
replace crates/kodikon-core/src/machines/membership.rs 's/fn rise\(\&mut self, now: Instant, id: NodeId, ctx: \&mut Context\) \{/fn rise(\&mut self, now: Instant, id: NodeId, ctx: \&mut Context) { if ctx.roster.directory().contains_key(\&id) { return; }/'
