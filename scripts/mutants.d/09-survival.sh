what='a change of state is told and not kept'
check=state_survives
runs='crash 0..4'
replace crates/kodikon-core/src/machines/replication/own.rs 's/^(\s*)ctx\.out\.persist\(Persist::State\(self\.own\.state\.clone\(\)\)\);/\1let _ = Persist::State;/'
