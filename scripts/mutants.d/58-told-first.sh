what='a change of state is told before it is on disk'
check=state_true
runs='rolling-crash 0..8
half-crash 0..8
crash 0..16'
replace crates/kodikon-core/src/node.rs 's/(self\.replication\.set_state\(&changes, wall, &mut self\.ctx\);)/\1 let version = self.replication.own_state().version; self.replication.on_state_kept(now, version, \&mut self.ctx);/'
