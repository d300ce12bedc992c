what='a receipt claims that everything shown is on disk'
check=alert_receipt
runs='alerts-sender-dies 0..4'
replace crates/kodikon-core/src/machines/replication/log/lane.rs 's/most_asked\(&self\.kept, on_disk,/most_asked(\&self.covered, self.alerts(),/'
