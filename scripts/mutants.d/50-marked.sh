what='an alert that is shown again after a crash does not say so'
check=alert_once
runs='alerts-receiver-restarts 0..12
alerts-sender-dies 4..12'
replace crates/kodikon-core/src/machines/replication/log.rs 's/let repeated = was_lost \|\| self\.cut_ms\.is_some_and\(is_before\);/let repeated = was_lost \&\& self.cut_ms.is_some_and(is_before);/'
