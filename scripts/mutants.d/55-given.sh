what='of what another lacks of the log only what is said by oneself is sent'
check=calm_alerts
runs='swarm-10 0..4
alerts-partition 0..4'
replace crates/kodikon-core/src/machines/replication/log/compare.rs 's/lacking\.extend\(lane\.beyond\(&known\)\);/lacking.extend(lane.beyond(\&known).filter(|held| held.op.author() == ctx.me.id));/'
