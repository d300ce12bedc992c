what='what is kept of a changed state is what it was before'
check=state_survives
runs='crash 0..4
rolling-crash 0..4'
replace crates/kodikon-core/src/machines/replication/own.rs 's/ctx\.out\.persist\(Persist::State\(self\.own\.state\.clone\(\)\)\);/ctx.out.persist(Persist::State(self.own.kept.clone()));/' 's/asked\.version == version/asked.version >= version/'
