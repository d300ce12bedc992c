//! Decides how a signed op looks as JSON: its envelope under `op`, and its body by its kind.

use kodikon_core::ground::id::{MeshId, NodeId};
use kodikon_core::ground::time::WallTime;
use kodikon_core::machines::membership::OpinionBody;
use kodikon_core::model::alert::{AlertId, ReceiptBody, ReceiptRow};
use kodikon_core::model::identity::Zip215Verifier;
use kodikon_core::model::links::{LinksBody, LossClass, MembersBody, SegmentId, SegmentLink, ShortId};
use kodikon_core::model::logged::LogBody;
use kodikon_core::model::member::{Card, CardAddress};
use kodikon_core::model::op::{OpId, OpKind, SignedOp};
use kodikon_core::model::record::{DTYPE_F16, DTYPE_F32, Embedding, Removed};
use kodikon_core::model::state::StateEntry;
use kodikon_core::wire::json::{MessageKind, MessageType, NodeStatePayload};
use kodikon_core::wire::message::LogReceipt;
use serde_json::{Map, Value, json};

use super::{Decoder, hex};

/// Arrays and objects in one another up to which a state value is shown as JSON: the seed's form has 32 in all.
const MAX_VALUE_DEPTH: usize = 16;

/// An op as a message of its own: what it is called, and what it says.
pub(super) struct Shown {
    pub(super) kind: MessageKind,
    pub(super) payload: Value,
}

impl Decoder {
    /// An op as a message of its author's.
    pub(super) fn show_op(&self, op: &SignedOp, mesh: MeshId) -> Shown {
        let custom = |name: &str| MessageKind::Custom(name.to_owned());
        match op.kind() {
            OpKind::Card => Shown { kind: custom("CARD"), payload: self.card(op, mesh) },
            OpKind::State => self.state(op, mesh),
            OpKind::Opinion => Shown { kind: custom("OPINION"), payload: self.opinion(op, mesh) },
            OpKind::Links => {
                let (_, key) = op.key();
                let (name, says) = if key.is_empty() {
                    ("LINKS", self.links(op.body()))
                } else {
                    ("MEMBERS", self.members(&op.author(), &key, op.body()))
                };
                let mut payload = says.unwrap_or_else(|| json!({"key": hex(&key), "body": hex(op.body())}));
                payload["op"] = self.envelope(op, mesh);
                Shown { kind: custom(name), payload }
            }
            OpKind::Alert | OpKind::AlertAck => self.logged(op, mesh),
            OpKind::Record | OpKind::RecordDelete | OpKind::LocalRecord => self.recorded(op, mesh),
            OpKind::Receipt => {
                let (_, key) = op.key();
                let says = ReceiptBody::parse(op)
                    .map(|(about, body)| json!({"about": self.node(about.0), "rows": rows(&body)}));
                let mut payload = says.unwrap_or_else(|| json!({"key": hex(&key), "body": hex(op.body())}));
                payload["op"] = self.envelope(op, mesh);
                Shown { kind: custom("RECEIPT"), payload }
            }
            OpKind::Unknown(code) => {
                let (_, key) = op.key();
                let payload =
                    json!({"op": self.envelope(op, mesh), "code": code, "key": hex(&key), "body": hex(op.body())});
                Shown { kind: custom("OP"), payload }
            }
        }
    }

    /// An alert in the seed's form, or that somebody has seen it.
    fn logged(&self, op: &SignedOp, mesh: MeshId) -> Shown {
        let envelope = self.envelope(op, mesh);
        let seconds = |ms: u64| WallTime(ms).seconds();
        match LogBody::parse(op) {
            Some(LogBody::Alert(body)) => {
                let payload = json!({
                    "op": envelope,
                    "alert_id": AlertId::of(&OpId::of(op)).to_string(),
                    "alert": core::str::from_utf8(&body.payload).map_or(Value::Null, value_of),
                    "priority": LogBody::Alert(body.clone()).priority().name(),
                    "ttl_s": seconds(body.ttl_ms),
                    "name": body.source,
                });
                Shown { kind: MessageType::Alert.into(), payload }
            }
            Some(LogBody::Ack(body)) => {
                let alert = AlertId::of(&body.about()).to_string();
                let payload = json!({"op": envelope, "alert_id": alert, "by": body.by, "ttl_s": seconds(body.ttl_ms)});
                Shown { kind: MessageKind::Custom("ALERT_ACK".to_owned()), payload }
            }
            Some(LogBody::Record(_) | LogBody::Delete(_) | LogBody::Unknown) | None => self.unread(op, mesh),
        }
    }

    /// A sighting, or what takes sightings back.
    fn recorded(&self, op: &SignedOp, mesh: MeshId) -> Shown {
        match LogBody::parse(op) {
            Some(LogBody::Record(body)) => {
                let payload = json!({
                    "op": self.envelope(op, mesh),
                    // Of all that its author said and had heard by then: of two of one author the later has the greater.
                    "version": op.lamport(),
                    "hash_value": body.hash_value,
                    "data_type": body.data_type,
                    "name": body.source,
                    "ttl_s": WallTime(body.ttl_ms).seconds(),
                    "confidence": body.confidence.get(),
                    "metadata": value_of(&body.metadata),
                    "embedding": body.embedding.as_ref().map(space),
                    "ownership": body.ownership.as_deref().map(value_of),
                    "seen": body.seen_ms.map(|ms| WallTime(ms).seconds()),
                    "replaces": body.replaces.map(|(epoch, seq)| json!({"epoch": epoch, "seq": seq})),
                });
                Shown { kind: MessageType::HashRegistry.into(), payload }
            }
            Some(LogBody::Delete(body)) => {
                let removed = |one: &Removed| {
                    let id = one.newest();
                    json!({"author": self.node(id.author.0), "epoch": id.epoch.0, "seq": id.seq.0})
                };
                let payload = json!({
                    "op": self.envelope(op, mesh),
                    "hash_value": body.hash_value,
                    "removes": body.removes.iter().map(removed).collect::<Vec<_>>(),
                    "ttl_s": WallTime(body.ttl_ms).seconds(),
                });
                Shown { kind: MessageKind::Custom("RECORD_DELETE".to_owned()), payload }
            }
            Some(LogBody::Alert(_) | LogBody::Ack(_) | LogBody::Unknown) | None => self.unread(op, mesh),
        }
    }

    /// An op whose body no honest author of this version makes.
    fn unread(&self, op: &SignedOp, mesh: MeshId) -> Shown {
        let payload = json!({"op": self.envelope(op, mesh), "code": op.kind().code(), "body": hex(op.body())});
        Shown { kind: MessageKind::Custom("OP".to_owned()), payload }
    }

    /// A card with the envelope it was signed in: `{op, card}`.
    pub(super) fn card(&self, op: &SignedOp, mesh: MeshId) -> Value {
        let card = Card::parse(op.body()).filter(|_| op.kind() == OpKind::Card);
        let card = card.map_or_else(|| hex(op.body()).into(), |card| card_fields(&card));
        json!({"op": self.envelope(op, mesh), "card": card})
    }

    /// One key of a node's state, in the seed's form.
    fn state(&self, op: &SignedOp, mesh: MeshId) -> Shown {
        let (_, key) = op.key();
        let read = minicbor::decode::<StateEntry>(op.body()).ok().zip(std::str::from_utf8(&key).ok());
        let Some((entry, key)) = read else {
            let payload = json!({"op": self.envelope(op, mesh), "key": hex(&key), "body": hex(op.body())});
            return Shown { kind: MessageKind::Custom("STATE".to_owned()), payload };
        };
        let value = entry.json.as_deref().map_or(Value::Null, value_of);
        // Without a key it bears the version of a state in which nothing is set.
        let changed = Some((key.to_owned(), value)).filter(|(key, _)| !key.is_empty());
        let state = NodeStatePayload {
            node_id: self.name_of(&op.author()),
            state: Map::from_iter(changed),
            version: entry.version,
            timestamp: op.wall().seconds(),
        };
        let mut payload = Value::from(state);
        payload["op"] = self.envelope(op, mesh);
        Shown { kind: MessageType::NodeStateSync.into(), payload }
    }

    fn opinion(&self, op: &SignedOp, mesh: MeshId) -> Value {
        let (_, key) = op.key();
        let read = minicbor::decode::<OpinionBody>(op.body()).ok().zip(<[u8; 16]>::try_from(&key[..]).ok());
        match read {
            Some((opinion, subject)) => json!({
                "op": self.envelope(op, mesh),
                "subject": self.node(subject),
                "epoch": opinion.epoch,
                "life": opinion.life,
                "failed": opinion.failed,
                "reason": opinion.reason(),
            }),
            None => json!({"op": self.envelope(op, mesh), "key": hex(&key), "body": hex(op.body())}),
        }
    }

    /// All links of a node: by segment, and one by one.
    fn links(&self, body: &[u8]) -> Option<Value> {
        let links = LinksBody::parse(body)?;
        let lossy = |(id, loss): &(ShortId, LossClass)| json!({"peer": self.short_node(*id), "loss": loss.permille()});
        let segment = |link: &SegmentLink| {
            json!({
                "segment": segment_hex(link.segment),
                "namer": link.namer.0.first().map(|id| self.short_node(*id)),
                "mtu": link.mtu,
                "cost": link.cost,
                "unheard": link.unheard.0.iter().map(|id| self.short_node(*id)).collect::<Vec<_>>(),
                "loss": link.loss.permille(),
                "lossy": link.lossy.0.iter().map(lossy).collect::<Vec<_>>(),
            })
        };
        // Each names one peer: the body was read within limits.
        let direct = links.direct.iter().flat_map(|link| link.peer.0.iter().map(move |peer| (*peer, link)));
        let direct = direct.map(
            |(peer, link)| json!({"peer": self.short_node(peer), "cost": link.cost, "loss": link.loss.permille()}),
        );
        Some(json!({
            "segments": links.segments.iter().map(segment).collect::<Vec<_>>(),
            "direct": direct.collect::<Vec<_>>(),
            "joint": links.is_joint,
        }))
    }

    /// One part of the list of who is on a segment, by the node that the segment is named after.
    fn members(&self, author: &NodeId, key: &[u8], body: &[u8]) -> Option<Value> {
        let (segment, part, members) = MembersBody::parse(author, key, body)?;
        let index = minicbor::decode::<MembersBody>(body).ok()?.index;
        Some(json!({
            "segment": segment_hex(segment),
            "part": part,
            "index": index,
            "members": members.iter().map(|id| self.short_node(*id)).collect::<Vec<_>>(),
        }))
    }

    fn envelope(&self, op: &SignedOp, mesh: MeshId) -> Value {
        let known = self.authors.get(&op.author());
        json!({
            "author": op.author().to_string(),
            "epoch": op.epoch().0,
            "seq": op.seq().0,
            "lamport": op.lamport(),
            "timestamp": op.wall().seconds(),
            "signed": known.map(|author| op.verify(&author.public_key, mesh, &mut Zip215Verifier::default())),
        })
    }

    /// A node by its id, with its name where it is known.
    pub(super) fn node(&self, id: [u8; 16]) -> Value {
        let id = NodeId(id);
        json!({"id": id.to_string(), "name": self.authors.get(&id).map(|author| author.name.clone())})
    }

    /// A node by the first half of its id, with its name where only one that is known begins so.
    fn short_node(&self, short: ShortId) -> Value {
        let mut known = self.authors.iter().filter(|(id, _)| ShortId::of(id) == short).map(|(_, author)| &author.name);
        let name = known.next().filter(|_| known.next().is_none());
        json!({"id": hex(&short.0), "name": name})
    }
}

/// In which space an embedding lies, and how long its numbers are.
fn space(embedding: &Embedding) -> Value {
    let dtype = match embedding.dtype {
        DTYPE_F32 => "f32",
        DTYPE_F16 => "f16",
        _ => "i8",
    };
    json!({"model": embedding.model, "dims": embedding.dims, "dtype": dtype, "bytes": embedding.stored.len()})
}

/// A segment's id as `NAMING` shows it.
fn segment_hex(segment: SegmentId) -> String {
    format!("{:016x}", segment.0)
}

fn card_fields(card: &Card) -> Value {
    let address = |at: &CardAddress| Value::from(format!("{}/{}", at.socket(), at.prefix));
    json!({
        "name": card.name,
        "rank": card.rank,
        "settled": card.settled,
        "life": card.life,
        "tag": hex(&card.tag),
        "addresses": card.addresses.iter().map(address).collect::<Vec<_>>(),
        "version": card.version,
        "public_key": hex(&card.public_key),
        "exchange_key": hex(&card.exchange_key),
    })
}

/// A state value; one that is no JSON, or too deep for the seed's form, as the text it is.
fn value_of(text: &str) -> Value {
    serde_json::from_str(text).ok().filter(|value| depth(value) <= MAX_VALUE_DEPTH).unwrap_or_else(|| text.into())
}

/// How many arrays and objects lie in one another; serde_json reads no more than 128.
fn depth(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
    }
}

/// What a node tells another alone that it has of its log.
pub(super) fn log_receipt(receipt: &LogReceipt) -> Value {
    let rows = ReceiptBody::read(&receipt.body).map(|body| rows(&body));
    json!({"lamport": receipt.lamport, "rows": rows, "tag": hex(&receipt.tag)})
}

/// What a node has of another's log, run by run.
fn rows(body: &ReceiptBody) -> Value {
    let row =
        |row: &ReceiptRow| json!({"epoch": row.epoch, "shown": row.shown.clone(), "durable": row.durable.clone()});
    body.all().map(row).collect()
}
