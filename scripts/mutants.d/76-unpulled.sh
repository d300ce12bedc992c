what='of the sightings that another lacks only one'\''s own are sent'
check=calm_records
runs='records-disks 0..4
records-load 0..2'
replace crates/kodikon-core/src/machines/replication/log/compare.rs 's/lane\.records_beyond\(known\)/lane.records_beyond(known).filter(|held| held.op.author() == ctx.me.id)/'
