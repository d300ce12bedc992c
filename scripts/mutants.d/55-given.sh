what='what another lacks of the log is not sent'
check=calm_alerts
runs='alerts-late-joiner 0..4
alerts-partition 0..4'
replace crates/kodikon-core/src/machines/replication/log/compare.rs 's/lacking\.extend\(lane\.beyond\(&known\)\);/lacking.extend(lane.beyond(\&known).filter(|held| held.op.author() == to));/'
