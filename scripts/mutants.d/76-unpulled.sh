what='sightings that another lacks are not sent'
check=calm_records
runs='records-load 0..2
records-disks 0..4'
replace crates/kodikon-core/src/machines/replication/log/compare.rs 's/lane\.records_beyond\(known\)/lane.records_beyond(known).filter(|held| held.op.author() == to)/'
