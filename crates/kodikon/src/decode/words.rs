//! Decides how each message of a sealed frame is said as JSON: its name, its fields, its source and its time.

use kodikon_core::ground::id::{MeshId, NodeId, SessionTag};
use kodikon_core::ground::time::WallTime;
use kodikon_core::model::op::SignedOp;
use kodikon_core::wire::cast::{Covered, Half, Spread};
use kodikon_core::wire::json::{JsonMessage, MessageKind};
use kodikon_core::wire::letter::{DeadLinks, Fragment, Letter, Stamp};
use kodikon_core::wire::message::{
    Beacon, Bye, Contents, Cover, Digest, Log, LogEntry, LogPiece, Message, Ops, PartSum, Proof, bye_bytes, proof_bytes,
};
use serde_json::{Value, json};

use super::{Decoder, Opened, hex, ops};

/// What one frame says of all its messages.
struct Frame {
    source: String,
    tag: [u8; 8],
    mesh: MeshId,
    counter: u64,
    captured: f64,
}

impl Frame {
    /// A message of the frame's sender.
    fn say(&self, kind: &str, payload: Value) -> JsonMessage {
        JsonMessage {
            kind: MessageKind::Custom(kind.to_owned()),
            source: self.source.clone(),
            timestamp: self.captured,
            seq: self.counter,
            payload,
            path: Vec::new(),
        }
    }

    /// The same, with the time at which its maker says it was made.
    fn say_at(&self, wall: WallTime, kind: &str, payload: Value) -> JsonMessage {
        JsonMessage { timestamp: wall.seconds(), ..self.say(kind, payload) }
    }
}

impl Decoder {
    /// Every message of a frame, in order; an OPS becomes a message for each op.
    pub(super) fn show(&self, opened: Opened, captured: f64) -> Vec<JsonMessage> {
        let Opened { header, mesh, messages, unknown } = opened;
        let source = self.source_of(header.tag);
        let frame = Frame { source, tag: header.tag.0, mesh, counter: header.counter, captured };
        let mut shown: Vec<JsonMessage> = messages.iter().flat_map(|message| self.say(message, &frame)).collect();
        if unknown > 0 {
            shown.push(frame.say("UNKNOWN", json!({"messages": unknown})));
        }
        shown
    }

    fn say(&self, message: &Message, frame: &Frame) -> Vec<JsonMessage> {
        let name = message.name();
        let payload = match message {
            Message::Hello(hello) => {
                let mut payload = self.card(&hello.card, frame.mesh);
                payload["index"] = hello.index.into();
                return vec![frame.say_at(hello.card.wall(), name, payload)];
            }
            Message::Proof(proof) => return vec![frame.say(name, self.proof(proof, frame))],
            Message::Pong(pong) => {
                let mut payload = json!({"nonce": hex64(pong.nonce)});
                if let Some(root) = pong.root {
                    payload["root"] = hex64(root).into();
                }
                let mut payload = with_log_root(payload, pong.log_root);
                if let Some(clock) = pong.clock {
                    payload["clock_ms"] = clock.0.into();
                }
                let Some(wall_ms) = pong.wall_ms else { return vec![frame.say(name, payload)] };
                payload["wall_ms"] = wall_ms.into();
                return vec![frame.say_at(WallTime(wall_ms), name, payload)];
            }
            Message::Ops(ops) => return self.ops(ops, frame),
            Message::Challenge(challenge) => json!({"cookie": hex(&challenge.cookie)}),
            Message::Beacon(beacon) => self.beacon(beacon),
            Message::Beat(beat) => {
                with_log_root(json!({"root": hex64(beat.root), "due_ms": beat.due_ms}), beat.log_root)
            }
            Message::Ping(ping) => json!({"nonce": hex64(ping.nonce)}),
            Message::Inquiry(inquiry) => json!({"subject": self.node(inquiry.subject)}),
            Message::Heard(heard) => {
                json!({"subject": self.node(heard.subject), "epoch": heard.epoch, "age_ms": heard.age_ms})
            }
            Message::Suspicion(doubt) => {
                json!({"subject": self.node(doubt.subject), "epoch": doubt.epoch, "life": doubt.life})
            }
            Message::Bye(bye) => self.bye(bye, frame.mesh),
            Message::Digest(digest) => self.digest(digest),
            Message::Refusal(refusal) => json!({"max_peers": refusal.max_peers}),
            Message::Naming(naming) => {
                let mut payload = json!({"segment": hex64(naming.segment.0)});
                if let Some(nonce) = naming.nonce {
                    payload["nonce"] = hex64(nonce).into();
                }
                payload
            }
            Message::Carry(carry) => {
                let mut payload = self.letter(carry.number, &carry.letter, &carry.dead, carry.fragment);
                payload["hops"] = carry.hops.into();
                payload["path"] = carry.path.0.iter().map(|stamp| hex(&stamp.0)).collect();
                payload
            }
            Message::Got(got) => {
                let receipt = |tag: &[u8; 16], number| json!({"number": number, "tag": hex(tag)});
                let receipts: Value = got.receipts.iter().map(|taken| receipt(&taken.tag, taken.number)).collect();
                json!({"taken": got.taken, "receipts": receipts})
            }
            Message::Back(back) => self.letter(back.number, &back.letter, &back.dead, back.fragment),
            Message::Spread(spread) => self.spread(spread),
            Message::Covered(covered) => self.covered(covered),
            Message::Offer(offer) => json!({"covers": self.covers(&offer.holds), "question": offer.question}),
            Message::Log(log) => return self.log(log, frame),
            Message::LogPiece(piece) => self.log_piece(piece),
            Message::Contents(contents) => self.contents(contents),
            Message::Bulk(bulk) => json!({"got": bulk.got, "until": bulk.until}),
            Message::LogReceipt(receipt) => ops::log_receipt(receipt),
            Message::Canary => json!({}),
        };
        vec![frame.say(name, payload)]
    }

    fn proof(&self, proof: &Proof, frame: &Frame) -> Value {
        let mut payload = self.card(&proof.card, frame.mesh);
        let bytes = proof_bytes(frame.mesh, &proof.cookie, &frame.tag);
        payload["cookie"] = hex(&proof.cookie).into();
        payload["signed"] = self.is_signed(&proof.card.author(), &bytes, &proof.signature).into();
        payload["clock_ms"] = proof.clock.0.into();
        payload
    }

    fn beacon(&self, beacon: &Beacon) -> Value {
        let ways = ["multicast4", "multicast6", "broadcast"];
        let heard = ways.iter().enumerate().filter(|(bit, _)| beacon.heard >> bit & 1 == 1).map(|(_, way)| *way);
        let turn = beacon.turn.map(|turn| json!({"observer": format!("{:08x}", turn.observer), "due_ms": turn.due_ms}));
        let payload = json!({"root": hex64(beacon.root), "heard": heard.collect::<Vec<_>>(), "turn": turn});
        with_log_root(payload, beacon.log_root)
    }

    fn bye(&self, bye: &Bye, mesh: MeshId) -> Value {
        let signed = self.is_signed(&NodeId(bye.author), &bye_bytes(mesh, &bye.author, bye.epoch), &bye.signature);
        json!({"author": self.node(bye.author), "epoch": bye.epoch, "signed": signed})
    }

    fn digest(&self, digest: &Digest) -> Value {
        let mut payload = json!({
            "covers": self.covers(&digest.covers),
            "scope": hex64(digest.scope),
            "sums": digest.sums.iter().map(|sum| hex64(*sum)).collect::<Vec<_>>(),
            "question": digest.question,
        });
        if let Some(lane) = digest.lane {
            payload["lane"] = lane.into();
        }
        payload
    }

    fn contents(&self, contents: &Contents) -> Value {
        let part = |part: &PartSum| {
            let PartSum { author, epoch, numbers, sum } = *part;
            let numbers = [numbers.first, numbers.last];
            json!({"author": self.node(author), "epoch": epoch, "numbers": numbers, "sum": hex64(sum)})
        };
        json!({
            "sums": contents.sums.iter().map(|sum| hex64(*sum)).collect::<Vec<_>>(),
            "parts": contents.parts.iter().map(part).collect::<Vec<_>>(),
        })
    }

    /// A letter on its way. What it says is for its destination: only its length is shown.
    fn letter(&self, number: u64, letter: &Letter, dead: &DeadLinks, fragment: Option<Fragment>) -> Value {
        let link = |(a, b): &(Stamp, Stamp)| json!([hex(&a.0), hex(&b.0)]);
        let fragment = fragment.map(|piece| json!({"index": piece.index, "count": piece.count}));
        json!({
            "number": number,
            "letter": {
                "origin": self.node(letter.origin),
                "epoch": letter.epoch,
                "to": self.node(letter.to),
                "number": letter.number,
                "attempt": letter.attempt,
                "kind": letter.kind,
                "priority": letter.urgency().map(|urgency| urgency.name()),
                "left_ms": letter.left_ms,
                "bytes": letter.body.len(),
                "tag": hex(&letter.tag),
            },
            "dead": dead.links().iter().map(link).collect::<Vec<_>>(),
            "fragment": fragment,
        })
    }

    /// What somebody has of casts, whole or in part, and what it wants.
    fn covered(&self, covered: &Covered) -> Value {
        let half = |half: &Half| {
            let (origin, have) = (self.node(half.origin), hex64(half.have));
            json!({"origin": origin, "epoch": half.epoch, "number": half.number, "have": have})
        };
        let halves: Value = covered.halves.iter().map(half).collect();
        json!({"covers": self.covers(&covered.covers), "halves": halves, "wants": self.covers(&covered.wants)})
    }

    /// A cast on its way, without what it says.
    fn spread(&self, spread: &Spread) -> Value {
        let Spread { cast, age_ms, hops, path, map, fragment, doubt_ms, sent } = spread;
        json!({
            "cast": {
                "origin": self.node(cast.origin),
                "epoch": cast.epoch,
                "number": cast.number,
                "kind": cast.kind,
                "priority": cast.urgency().map(|urgency| urgency.name()),
                "bytes": cast.body.len(),
                "signature": hex(&cast.signature),
            },
            "age_ms": age_ms,
            "hops": hops,
            "path": path.0.iter().map(|stamp| hex(&stamp.0)).collect::<Vec<_>>(),
            "map": hex64(*map),
            "fragment": fragment.map(|piece| json!({"index": piece.index, "count": piece.count})),
            "doubt_ms": doubt_ms,
            "sent_ms": sent.0,
        })
    }

    fn covers(&self, covers: &[Cover]) -> Value {
        let one = |cover: &Cover| {
            let intervals = cover.intervals.iter().map(|interval| json!([interval.first, interval.last]));
            json!({
                "author": self.node(cover.author),
                "epoch": cover.epoch,
                "intervals": intervals.collect::<Vec<_>>(),
            })
        };
        covers.iter().map(one).collect()
    }

    /// An op as a message of its author's.
    fn said(&self, op: &SignedOp, frame: &Frame) -> JsonMessage {
        let shown = self.show_op(op, frame.mesh);
        let is_own = self.sessions.get(&SessionTag(frame.tag)) == Some(&op.author());
        JsonMessage {
            kind: shown.kind,
            source: self.name_of(&op.author()),
            timestamp: op.wall().seconds(),
            seq: frame.counter,
            payload: shown.payload,
            path: if is_own { Vec::new() } else { vec![frame.source.clone()] },
        }
    }

    /// A piece of a longer op of the log, without its bytes.
    fn log_piece(&self, piece: &LogPiece) -> Value {
        json!({
            "author": self.node(piece.author),
            "epoch": piece.epoch,
            "seq": piece.seq,
            "index": piece.index,
            "count": piece.count,
            "age_ms": piece.age_ms,
            "bytes": piece.bytes.len(),
        })
    }

    /// The same of the log, with the age of each.
    fn log(&self, log: &Log, frame: &Frame) -> Vec<JsonMessage> {
        let said = |entry: &LogEntry| {
            let mut shown = self.said(&entry.op, frame);
            shown.payload["age_ms"] = entry.age_ms.into();
            shown
        };
        let mut shown: Vec<JsonMessage> = log.entries.iter().map(said).collect();
        if !log.over.is_empty() || shown.is_empty() {
            shown.push(frame.say("LOG", json!({"ops": log.entries.len(), "over": self.covers(&log.over)})));
        }
        shown
    }

    /// Each op as a message of its author's, passed on by the sender where that is another.
    fn ops(&self, ops: &Ops, frame: &Frame) -> Vec<JsonMessage> {
        let mut shown: Vec<JsonMessage> = ops.ops.iter().map(|op| self.said(op, frame)).collect();
        if !ops.covered.is_empty() || shown.is_empty() {
            shown.push(frame.say("OPS", json!({"ops": ops.ops.len(), "covered": self.covers(&ops.covered)})));
        }
        shown
    }
}

/// Beside the root of all that is covered that of the log, while something of it is held.
fn with_log_root(mut payload: Value, log_root: Option<u64>) -> Value {
    if let Some(root) = log_root {
        payload["log_root"] = hex64(root).into();
    }
    payload
}

/// A number that names something: as text, since many readers of JSON round what is above 2^53.
fn hex64(value: u64) -> String {
    format!("{value:016x}")
}
