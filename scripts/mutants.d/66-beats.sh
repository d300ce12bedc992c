what='heartbeats and probes wait like what may be lost, and a probe has milliseconds to be answered'
check=beats_heard
runs='bulk-beside-critical 0..3
congested-link 0..3'
replace crates/kodikon-core/src/machines/shaper/classes.rs \
    's/^        \| Message::(Beat|Ping|Pong)\(_\)$//' \
    's/^( *)Message::Digest\(_\) \| Message::Contents\(_\) => \(Class::High, None\),/&\n\1Message::Beat(_) | Message::Ping(_) | Message::Pong(_) => (Class::Low, None),/'
replace crates/kodikon-core/src/machines/liveness/beats.rs \
    's/const GRACE: Duration = Duration::from_millis\(250\);/const GRACE: Duration = Duration::from_millis(1);/'
replace crates/kodikon-core/src/machines/liveness/probes.rs \
    's/= \[0, 60, 150, 270, 420, 600, 800\];/= [0, 1, 2, 3, 4, 6, 8];/' \
    's/= \[480, 680\];/= [5, 7];/' \
    's/const VERDICT_MS: u64 = 900;/const VERDICT_MS: u64 = 9;/'
