//! A copied data directory: one of the two makes room, both go on, and each says what happened.

#[path = "segment/lan.rs"]
mod lan;

use kodikon_core::effect::Event;
use kodikon_core::ground::config::Config;
use kodikon_core::ground::id::Epoch;
use kodikon_core::ground::time::Duration;
use kodikon_core::model::identity::Identity;
use lan::Lan;

const ORIGINAL: u8 = 1;
const COPY: u8 = 4;

#[test]
fn the_original_of_a_copied_node_keeps_identity_and_name_and_speaks_of_no_backup() {
    let mut lan = Lan::new();
    lan.start_with(ORIGINAL, |boot| boot.saved.rank = Some(1));
    (2..=3).for_each(|n| lan.start(n));
    lan.run(Duration::from_secs(8));
    let id = lan.nodes[&ORIGINAL].id();
    lan.start_with(COPY, |boot| {
        boot.config = Config::new("cam1");
        boot.identity = Identity::from_secret(&[ORIGINAL; 32]);
        boot.epoch = Epoch::new(2, 4);
        boot.saved.rank = Some(1);
        // It tells all of it before it shows its card.
        boot.saved.state.version = 40;
        boot.saved.state.values = (0..40).map(|n| (format!("key{n}"), format!("\"{}\"", "x".repeat(50)))).collect();
    });
    lan.run(Duration::from_secs(12));

    assert_eq!(lan.times(|event| matches!(event, Event::Restored { .. })), []);
    let told = |rekeyed| lan.times(move |event| *event == Event::Cloned { rekeyed });
    let by = |times: Vec<(u8, Duration)>| times.into_iter().map(|(n, _)| n).collect::<Vec<u8>>();
    assert_eq!((by(told(false)), by(told(true))), (vec![ORIGINAL], vec![COPY]));
    assert_eq!((lan.nodes[&ORIGINAL].id(), lan.nodes[&ORIGINAL].name()), (id, "cam1".to_owned()));
    assert_ne!(lan.nodes[&COPY].id(), id);
    assert_eq!(lan.nodes[&COPY].name(), "cam1-2", "the copy's claim to the name is the younger");
    for (n, node) in &lan.nodes {
        assert_eq!(node.peers().len(), 3, "node {n}");
    }
}
