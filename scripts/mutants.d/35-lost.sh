what='a relay forgets the long letters that it took'
check=letter_reliable
runs='letters-line-7 0..2 --no-mild'
replace crates/kodikon-core/src/machines/messages.rs 's/^        \/\/ We are one of the relays that it may pass\.$/        if letter.pieces() > 1 { return; }/'
