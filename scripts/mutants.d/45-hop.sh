what='what a relay took is told as delivered'
check=letter_outcome
runs='letters-swallowed 0..2'
replace crates/kodikon-core/src/machines/messages.rs 's/^            if is_over \{$/            if is_over { if let Some(own) = parcel.own { self.release(now, flight.parcel); self.settle_delivered(now, own, \&Path::default(), ctx); continue; }/'
