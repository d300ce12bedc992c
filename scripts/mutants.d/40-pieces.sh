what='the pieces of a long cast are put together in the wrong order, and its signature is not looked at'
check=cast_true
runs='broadcast-loss-20 0..2 --no-mild'
replace crates/kodikon-core/src/wire/fragments.rs 's/set\.pieces\.into_values\(\)\.flatten\(\)/set.pieces.into_values().enumerate().map(|(place, piece)| ((usize::MAX - place) * usize::from(place > 0), piece)).collect::<std::collections::BTreeMap<_, _>>().into_values().flatten()/'
replace crates/kodikon-core/src/machines/broadcast/taking.rs 's/if !ctx\.verify\(key, &cast\.signed_bytes\(ctx\.mesh\), &cast\.signature\) \{/if !ctx.verify(key, \&cast.signed_bytes(ctx.mesh), \&cast.signature) \&\& id.number == u64::MAX {/'
