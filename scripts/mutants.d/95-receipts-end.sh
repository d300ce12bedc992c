what='a run does not say again what it has of the alerts that its disk held'
check=calm_receipts
runs='swarm-5 0
alerts-receiver-restarts 0'
replace crates/kodikon-core/src/node/start.rs 's/self\.alerts\.begin\(now, &mut self\.ctx\);//'
