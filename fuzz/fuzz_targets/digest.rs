//! Whatever two proven peers say they hold of the log and of the live lane, and whatever they send of it, a node that holds sightings
//! answers within its limits, and only with what it holds.
//!
//! An input is steps of eight bytes and more, `[what, who, author, first, length, gap, count, more]`: digests of intervals and of sums,
//! sums of what is held, ops with numbers of their author's, pieces, numbers said to be over; and time.

#![no_main]

#[path = "frame/scene.rs"]
mod scene;

use kodikon_core::effect::{Command, Input};
use kodikon_core::ground::id::{Epoch, MeshId, Seq};
use kodikon_core::ground::time::{Duration, WallTime};
use kodikon_core::model::identity::Identity;
use kodikon_core::model::letter::Ticket;
use kodikon_core::model::op::{OpKind, SignedOp, Statement};
use kodikon_core::model::record::{NewRecord, RecordOrder};
use kodikon_core::wire::codec;
use kodikon_core::wire::message::{Contents, Cover, Digest, Interval, Log, LogEntry, LogPiece, Message, PartSum, Run};
use libfuzzer_sys::fuzz_target;
use scene::{NODE, PEERS, Scene};

/// Steps of one input, and own sightings it begins with.
const MAX_STEPS: usize = 48;
const OWN: u64 = 5;
/// Which step of the scene lets a peer say something, and which lets the store answer.
const SAYS: u8 = 0;
const COMMITS: u8 = 17;

fuzz_target!(|bytes: &[u8]| {
    let mut scene = Scene::new(true);
    for n in 0..OWN {
        let record = NewRecord::new(&format!("h{n}"));
        scene.hand(Input::Command(Command::Add(RecordOrder { ticket: Ticket(1_000 + n), record })));
    }
    scene.step(COMMITS, &[0; 8]);
    for step in bytes.chunks_exact(8).take(MAX_STEPS) {
        let [what, who, author, first, length, gap, count, more] = *step else { return };
        let intervals = intervals(first, length, gap, count);
        let cover = Cover { author: author_of(author).id().0, epoch: epoch(author).0, intervals };
        let lane = [None, Some(1), Some(1), Some(2), Some(9)][usize::from(more % 5)];
        let message = match what % 7 {
            0 => Message::Digest(Digest {
                covers: vec![cover],
                scope: u64::MAX,
                sums: Vec::new(),
                question: more & 8 == 0,
                lane,
                from: (more & 16 != 0).then(|| Run { author: [gap; 16], epoch: u64::from(length) }),
                until: (more & 32 != 0).then(|| Run { author: [length; 16], epoch: u64::from(gap) }),
            }),
            1 => {
                let sums =
                    (0..64).map(|bucket| u64::from(bucket % u64::from(gap.max(1)) == 0) * u64::from(first)).collect();
                Message::Digest(Digest {
                    covers: Vec::new(),
                    scope: u64::MAX,
                    sums,
                    question: true,
                    lane,
                    ..Digest::default()
                })
            }
            2 => {
                let entries = (0..u64::from(count % 8))
                    .map(|n| entry(author, u64::from(first) + n * u64::from(gap), more))
                    .collect();
                Message::Log(Log {
                    entries,
                    over: Vec::new(),
                    more: (more & 16 == 0).then_some(u64::from(length)),
                    pipe: (more & 4 == 0).then_some(true),
                })
            }
            3 => Message::Log(Log { entries: Vec::new(), over: vec![cover], more: None, pipe: None }),
            4 => {
                let whole = minicbor::to_vec(&entry(author, first.into(), more).op).expect("memory takes it");
                let (index, count) = (length % 4, count % 5);
                let bytes = whole.chunks(whole.len().div_ceil(3)).nth(index.into()).unwrap_or_default().to_vec();
                let (author, epoch) = (author_of(author).id().0, epoch(author).0);
                let key = None;
                let rested = None;
                Message::LogPiece(LogPiece {
                    author,
                    epoch,
                    seq: first.into(),
                    index,
                    count,
                    age_ms: gap.into(),
                    bytes,
                    key,
                    rested,
                })
            }
            5 => {
                let sums = if more & 1 == 1 {
                    (0..u64::from(count)).map(|n| n * u64::from(gap)).collect()
                } else {
                    Vec::new()
                };
                let part = |interval: &Interval| PartSum {
                    author: cover.author,
                    epoch: cover.epoch,
                    numbers: *interval,
                    sum: u64::from(gap),
                };
                let mut parts: Vec<PartSum> = cover.intervals.iter().map(part).collect();
                if more & 2 == 2 {
                    parts.reverse();
                }
                Message::Contents(Contents { sums, parts })
            }
            _ => {
                scene.pass(Duration::from_millis(u64::from(length) * 20));
                scene.step(COMMITS, &[count; 4]);
                continue;
            }
        };
        let mut text = Vec::new();
        codec::encode(&message, &mut text);
        scene.step(SAYS + who % 2, &text);
    }
    scene.pass(Duration::from_secs(2));
});

/// The peers, the node itself, and somebody whom it does not know.
fn author_of(which: u8) -> Identity {
    let secret = [PEERS[0], PEERS[1], NODE, 77][usize::from(which % 4)];
    Identity::from_secret(&[secret; 32])
}

fn epoch(which: u8) -> Epoch {
    // The run that each of them is in, and one before and one after it.
    let of_run = [PEERS[0], PEERS[1], NODE, 77][usize::from(which % 4)];
    Epoch::new(u32::from(which >> 2 & 1) + u32::from(which >> 3 & 1), of_run.into())
}

fn intervals(first: u8, length: u8, gap: u8, count: u8) -> Vec<Interval> {
    let mut next = u64::from(first);
    let interval = |_| {
        let one = Interval { first: next, last: next.saturating_add(u64::from(length)) };
        // The largest numbers as well, and intervals that overlap or run backward.
        next = if gap == 255 {
            u64::MAX - u64::from(length)
        } else {
            one.last.wrapping_add(u64::from(gap)).wrapping_sub(1)
        };
        one
    };
    (0..count % 32).map(interval).collect()
}

fn entry(author: u8, seq: u64, more: u8) -> LogEntry {
    let kind = [OpKind::Record, OpKind::RecordDelete, OpKind::Alert, OpKind::LocalRecord][usize::from(more >> 5 & 3)];
    let body = vec![more; usize::from(more)];
    let statement = Statement { kind, key: Vec::new(), body, lamport: 1, wall: WallTime(9) };
    let op = SignedOp::sign(&author_of(author), MeshId([7; 16]), epoch(author), Seq(seq.max(1)), statement);
    LogEntry { op, age_ms: u64::from(more), key: Some(author_of(author).public_key()), rested: Some(more & 1 == 1) }
}
