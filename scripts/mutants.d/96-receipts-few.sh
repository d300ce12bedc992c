what='a receipt speaks of four runs of an author, of which more have active alerts'
check=calm_receipts
runs='swarm-5 0
alerts-disk-fails 1'
replace crates/kodikon-core/src/model/alert.rs 's/MAX_RECEIPT_RUNS: usize = 32/MAX_RECEIPT_RUNS: usize = MAX_RECEIPT_ROWS/'
