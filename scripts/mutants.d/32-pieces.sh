what='the pieces of a long letter are put together in the wrong order, and its tag is not looked at'
check=letter_true
runs='letters-loss-20 0..2 --no-mild'
replace crates/kodikon-core/src/wire/fragments.rs 's/set\.pieces\.into_values\(\)\.flatten\(\)/set.pieces.into_values().enumerate().map(|(place, piece)| ((usize::MAX - place) * usize::from(place > 0), piece)).collect::<std::collections::BTreeMap<_, _>>().into_values().flatten()/'
replace crates/kodikon-core/src/machines/messages.rs 's/\.filter\(\|\(_, pair\)\| letter\.tag_under\(&pair\.inward\) == letter\.tag\)//'
