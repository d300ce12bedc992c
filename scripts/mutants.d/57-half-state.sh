what='a state is shown before all of it has come'
check=state_true
runs='bursty-loss 0..4
loss-20 0..4
late-joiner 0..4'
replace crates/kodikon-core/src/machines/replication/lane.rs 's/self\.is_whole = newest\.is_none\(\) \|\| .*/self.is_whole = newest.is_none() || newest.is_some();/'
