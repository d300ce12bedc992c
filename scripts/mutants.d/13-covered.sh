what='what was merely heard of counts as covered'
check=calm_state
runs='loss-20 0..8
bursty-loss 0..8
swarm-10 0..8'
replace crates/kodikon-core/src/machines/replication/sync.rs 's/lane\.hollow\(\)\.without/Intervals::from_wire(\&lane.cover().intervals).without/'
