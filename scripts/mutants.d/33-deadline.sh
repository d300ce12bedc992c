what='a letter may take twice as long as it was given'
check=letter_settled
runs='letters-grid-9 0..4 --no-mild'
replace crates/kodikon-core/src/machines/messages/outgoing.rs 's/now \+ timeout\.unwrap_or\(priority\.deadline\(\)\)/now + timeout.unwrap_or(priority.deadline()) * 2/'
