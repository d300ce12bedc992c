what='of the sightings that another lacks one'\''s own are not sent'
check=calm_records
runs='records-partition 0..4
records-disks 0..4'
replace crates/kodikon-core/src/machines/replication/log/compare.rs 's/lane\.records_beyond\(known\)/lane.records_beyond(known).filter(|held| held.op.author() != ctx.me.id)/'
