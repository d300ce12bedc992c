//! No frame, however made, breaks a node: neither one sealed with the right key around any text, nor sealed bytes that were altered.
//!
//! An input is a byte of settings and then steps, `[what, length in two bytes, that many bytes]`: frames of two proven peers, of a
//! stranger and of the node itself, frames altered on the way, raw datagrams, repetitions, events of streams and of the host, time.
//! After each step the node must have kept its limits, sent only frames that are well formed, and answered nothing to what it could
//! not open.

#![no_main]

#[path = "frame/scene.rs"]
mod scene;

use kodikon_core::effect::{Command, Input};
use kodikon_core::ground::time::Duration;
use libfuzzer_sys::fuzz_target;
use scene::Scene;

/// Steps of one input: more only repeat.
const MAX_STEPS: usize = 64;

fuzz_target!(|bytes: &[u8]| {
    let Some((settings, mut rest)) = bytes.split_first() else { return };
    let mut scene = Scene::new(settings & 1 == 1);
    for _ in 0..MAX_STEPS {
        let [what, low, high, tail @ ..] = rest else { break };
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(tail.len());
        let (body, tail) = tail.split_at(length);
        scene.step(*what, body);
        rest = tail;
    }
    if settings & 6 == 6 {
        // Whatever happened, it lives on and says goodbye. Only sometimes: it takes longer than all the rest.
        scene.pass(Duration::from_secs(40));
        scene.hand(Input::Command(Command::Leave));
        scene.pass(Duration::from_secs(1));
    }
});
