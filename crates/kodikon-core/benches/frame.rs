//! Decides whether a datagram is handled fast enough: sealing and opening, and whether it came before. Prints what each
//! costs and fails where a median is over its limit.
#![expect(clippy::print_stdout, reason = "the figures are what it is for")]

#[path = "limit/median.rs"]
mod limit;

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Duration;

use kodikon_core::ground::id::{Epoch, NodeId, SessionTag};
use kodikon_core::model::windows;
use kodikon_core::wire::header::{Header, OVERHEAD};
use kodikon_core::wire::seal::{GroupKey, ReplayWindow};
use limit::Limits;
use zeroize::Zeroizing;

/// A full datagram on Ethernet: 1,500 less the headers of IPv6 and UDP.
const FRAME: usize = 1_452;
/// A heartbeat.
const SHORT: usize = 80;
/// Calls in a sample: the clock itself costs some 30 ns.
const MANY: usize = 10_000;
const FEW: usize = 1_000;
/// Design: frame seal or open, next hop and duplicate check.
const CIPHER: Duration = Duration::from_micros(1);
const CHECK: Duration = Duration::from_nanos(60);

fn main() -> ExitCode {
    let mut limits = Limits::new();
    ciphers(&mut limits);
    frames_seen_before(&mut limits);
    letters_told_before(&mut limits);
    limits.verdict()
}

fn ciphers(limits: &mut Limits) {
    let tag = SessionTag([7; 8]);
    let key = GroupKey::new(&Zeroizing::new([1; 32])).session(tag);
    for length in [SHORT, FRAME] {
        let text = vec![0x5a; length - OVERHEAD];
        limits.hold(&format!("seal, {length} B"), CIPHER, FEW, |n| {
            black_box(key.seal(&Header { tag, counter: n as u64 }, &text));
        });
        let header = Header { tag, counter: 1 };
        let sealed = key.seal(&header, &text);
        let mut frame = sealed.clone();
        // The copy is part of the figure: opening overwrites the frame.
        limits.hold(&format!("open, {length} B, and a copy of it"), CIPHER, FEW, |_| {
            frame.copy_from_slice(&sealed);
            assert!(key.open(&header, black_box(&mut frame)).is_ok(), "a frame opens under its own key");
        });
    }
}

fn frames_seen_before(limits: &mut Limits) {
    let mut window = ReplayWindow::new();
    limits.hold("frame seen before: in order", CHECK, MANY, |n| {
        assert!(black_box(window.accept(n as u64)), "{n} is new");
    });
    let mut window = ReplayWindow::new();
    limits.hold("frame seen before: in pairs of disorder", CHECK, MANY, |n| {
        assert!(black_box(window.accept(n as u64 ^ 1)), "{n} is new");
    });
    limits.hold("frame seen before: a replay", CHECK, MANY, |n| {
        assert!(!black_box(window.accept(n as u64)), "{n} is old");
    });
}

/// With as many origins as a large mesh has, and with as many as are remembered.
fn letters_told_before(limits: &mut Limits) {
    for origins in [50, 1_000, windows::MAX_ORIGINS] {
        let ids: Vec<NodeId> = (0..origins).map(|n| NodeId::of(&key_of(n))).collect();
        let mut windows = windows::Windows::default();
        limits.hold(&format!("letter told before, {origins} origins"), CHECK, MANY, |n| {
            let number = (n / origins + 1) as u64;
            assert!(black_box(windows.note(ids[n % origins], Epoch(1), number)) == windows::Arrived::New, "{n} is new");
        });
    }
}

/// Some public key, another one for each number.
fn key_of(n: usize) -> [u8; 32] {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&(n as u64).to_le_bytes());
    key
}
