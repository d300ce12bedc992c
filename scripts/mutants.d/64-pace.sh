what='a full link is not noticed, and its own queue decides who waits'
check=letter_urgent
runs='bulk-beside-critical 0..2
congested-link 0..3'
replace crates/kodikon-core/src/machines/shaper/pace.rs 's/if queued > QUEUED_MOST \{/if queued > QUEUED_MOST * 1_000 {/'
