what='what is lost on a link is never counted against it'
check=ways_clean
runs='lossy-ring 0..2'
replace crates/kodikon-core/src/machines/routing/quality.rs 's/if all < ENOUGH \{/if all < u32::MAX {/'
