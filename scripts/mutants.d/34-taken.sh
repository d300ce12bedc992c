what='what a neighbour took counts as delivered'
check=letter_outcome
runs='letters-line-7 0..2 --no-mild
letters-grid-9 0..4 --no-mild'
replace crates/kodikon-core/src/machines/messages.rs 's/let parcel = self\.release\(now, flight\.parcel\);/let own = parcel.own; let parcel = self.release(now, flight.parcel); if let Some(own) = own { self.settle_delivered(now, own, \&Path::default(), ctx); }/'
