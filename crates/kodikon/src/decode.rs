//! Decides how a datagram is shown to people: every message in it as one message of the seed's form.
//!
//! A message has a number of the seed only if its payload is what the seed means by that number: a change of node state is a
//! `NODE_STATE_SYNC`. Everything else that nodes say to each other has type 0 and its own name as `kind`. `docs/wire-format.md` has
//! the whole table.

mod ops;
mod words;

use kodikon_core::ground::bounded::BoundedMap;
use kodikon_core::ground::config::{Config, Deletes, MAX_PEERS, Security};
use kodikon_core::ground::id::{MeshId, NodeId, SessionTag};
use kodikon_core::ground::stats::Reject;
use kodikon_core::model::identity::{Verifier as _, Zip215Verifier};
use kodikon_core::model::member::Card;
use kodikon_core::model::op::{OpKind, SignedOp};
use kodikon_core::wire::codec;
use kodikon_core::wire::header::{HEADER, Header, MAX_FRAME, OVERHEAD};
use kodikon_core::wire::json::Origin;
pub use kodikon_core::wire::json::{JsonMessage, JsonReject};
use kodikon_core::wire::message::Message;
use kodikon_core::wire::seal::GroupKey;

use crate::mesh_key::MeshKey;

/// Reads datagrams: those of the Python original, and those sealed in one mesh.
///
/// It remembers who showed which card, so that later frames of the same session bear a name.
#[derive(Debug)]
pub struct Decoder {
    /// One for each policy of deletion, which is part of the key.
    keys: Vec<(GroupKey, MeshId)>,
    sessions: BoundedMap<SessionTag, NodeId>,
    authors: BoundedMap<NodeId, Author>,
}

/// A node that showed a card signed by itself.
#[derive(Debug, Clone)]
struct Author {
    name: String,
    public_key: [u8; 32],
}

/// A frame that opened.
#[derive(Debug)]
struct Opened {
    header: Header,
    mesh: MeshId,
    messages: Vec<Message>,
    unknown: u64,
}

/// Why a datagram cannot be shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Undecoded {
    /// It begins like a JSON message and is none.
    #[error("{0}")]
    Json(JsonReject),
    /// It is of another program.
    #[error("neither a JSON message nor a sealed frame: it begins with {0}")]
    Foreign(String),
    /// It begins like a sealed frame and is none.
    #[error("looks like a sealed frame, and has {0} bytes: a frame has {OVERHEAD} to {MAX_FRAME}")]
    Length(usize),
    /// Sealed under a key epoch that this version does not know.
    #[error("a frame of a later version: its key epoch is {0}, and only 0 is known")]
    KeyEpoch(u8),
    /// Sealed, and none of the keys opens it.
    #[error(
        "a sealed frame that does not open: it is of another mesh, or was damaged; name its mesh and its key file, if it has one"
    )]
    Sealed,
    /// It opened, and what is inside is no message.
    #[error("a frame that opens and holds no message this version can read")]
    Malformed,
}

impl Undecoded {
    /// Whether it is most likely another program's, and no fault.
    #[must_use]
    pub const fn is_foreign(&self) -> bool {
        matches!(self, Self::Foreign(_))
    }
}

impl Decoder {
    /// A decoder for the mesh of this name, and of this key unless it is open.
    #[must_use]
    pub fn new(mesh_name: &str, key: Option<&MeshKey>) -> Self {
        let keys = [Deletes::All, Deletes::Author].map(|deletes| {
            let mut config = Config::new("decode");
            config.mesh_name = mesh_name.to_owned();
            config.deletes = deletes;
            config.security = key.map_or(Security::Open, |key| Security::Key(key.bytes().clone()));
            (GroupKey::new(&config.group_key()), config.mesh_id())
        });
        Self { keys: keys.into(), sessions: BoundedMap::new(MAX_PEERS), authors: BoundedMap::new(MAX_PEERS) }
    }

    /// The frames in what a capture shows as one packet: on the host that sends them, a run of frames that the kernel or the network
    /// card cuts apart behind the capture (`UDP_SEGMENT`) is one. All have one length, but the last, which may be shorter. Anything else
    /// is returned as it is.
    #[must_use]
    pub fn frames<'a>(&self, packet: &'a [u8]) -> Vec<&'a [u8]> {
        let is_one = match self.open(packet) {
            Ok(_) => true,
            Err(Undecoded::Length(length)) => length < OVERHEAD,
            Err(Undecoded::Sealed) => false,
            Err(Undecoded::Json(_) | Undecoded::Foreign(_) | Undecoded::KeyEpoch(_) | Undecoded::Malformed) => true,
        };
        let whole = vec![packet];
        if is_one {
            return whole;
        }
        // One sender speaks in one session, so its frames begin alike up to their counters.
        let beginning = packet.get(..HEADER - 8).unwrap_or_default();
        let is_run = |length: &usize| packet.chunks(*length).all(|frame| frame.starts_with(beginning));
        let opens = |length: &usize| packet.chunks(*length).all(|frame| self.open(frame).is_ok());
        let mut lengths = OVERHEAD..=MAX_FRAME.min(packet.len().saturating_sub(1));
        lengths.find(|length| is_run(length) && opens(length)).map_or(whole, |length| packet.chunks(length).collect())
    }

    /// Takes only the names out of a datagram, for frames that come before those which show them.
    pub fn learn(&mut self, datagram: &[u8]) {
        if let Ok(opened) = self.open(datagram) {
            self.learn_names(&opened);
        }
    }

    /// Shows every message of a datagram, in order. `captured` is when it was seen, in seconds since 1970: for those messages that
    /// do not say when they were made; 0 stands where nobody knows.
    ///
    /// # Errors
    /// [`Undecoded`] says what the datagram is instead.
    pub fn decode(&mut self, datagram: &[u8], captured: Option<f64>) -> Result<Vec<JsonMessage>, Undecoded> {
        let first = datagram.trim_ascii_start().first();
        if first == Some(&b'{') {
            let message = JsonMessage::parse(datagram, Origin::Legacy).map_err(Undecoded::Json)?;
            return Ok(vec![message]);
        }
        let opened = self.open(datagram)?;
        self.learn_names(&opened);
        Ok(self.show(opened, captured.filter(|at| at.is_finite()).unwrap_or(0.0)))
    }

    fn open(&self, datagram: &[u8]) -> Result<Opened, Undecoded> {
        let header = Header::decode(datagram).map_err(|reason| {
            if reason == Reject::KeyEpoch {
                Undecoded::KeyEpoch(datagram.get(1).copied().unwrap_or_default())
            } else if reason == Reject::Length && !datagram.is_empty() {
                Undecoded::Length(datagram.len())
            } else {
                Undecoded::Foreign(beginning(datagram))
            }
        })?;
        for (group, mesh) in &self.keys {
            let mut frame = datagram.to_vec();
            if let Ok(text) = group.session(header.tag).open(&header, &mut frame) {
                let batch = codec::decode(text).map_err(|_| Undecoded::Malformed)?;
                return Ok(Opened { header, mesh: *mesh, messages: batch.messages, unknown: batch.unknown });
            }
        }
        Err(Undecoded::Sealed)
    }

    /// Notes who every card is of that its author signed.
    fn learn_names(&mut self, opened: &Opened) {
        for message in &opened.messages {
            for op in message_ops(message) {
                self.learn_card(op, opened.mesh);
            }
        }
    }

    fn learn_card(&mut self, op: &SignedOp, mesh: MeshId) {
        let Some(card) = Card::parse(op.body()).filter(|_| op.kind() == OpKind::Card) else { return };
        if op.verify(&card.public_key, mesh, &mut Zip215Verifier::default()) {
            let author = Author { name: card.shown_name(), public_key: card.public_key };
            // At the limit those who come later are shown by their ids. A session keeps its first holder: a card can name any.
            let _ = self.authors.insert(op.author(), author);
            if !self.sessions.contains_key(&card.session()) {
                let _ = self.sessions.insert(card.session(), op.author());
            }
        }
    }

    /// The name of a node, or its id where no card was seen.
    fn name_of(&self, id: &NodeId) -> String {
        self.authors.get(id).map_or_else(|| id.to_string(), |author| author.name.clone())
    }

    /// Whose session it is, or its tag where no card was seen.
    fn source_of(&self, tag: SessionTag) -> String {
        self.sessions.get(&tag).map_or_else(|| hex(&tag.0), |id| self.name_of(id))
    }

    /// Whether the author signed these bytes; `None` without its card.
    fn is_signed(&self, author: &NodeId, bytes: &[u8], signature: &[u8; 64]) -> Option<bool> {
        let public_key = self.authors.get(author)?.public_key;
        Some(Zip215Verifier::default().verify(&public_key, bytes, signature))
    }
}

/// The ops that a message carries.
fn message_ops(message: &Message) -> &[SignedOp] {
    match message {
        Message::Hello(hello) => std::slice::from_ref(&hello.card),
        Message::Proof(proof) => std::slice::from_ref(&proof.card),
        Message::Ops(ops) => &ops.ops,
        Message::Challenge(_)
        | Message::Beacon(_)
        | Message::Beat(_)
        | Message::Ping(_)
        | Message::Pong(_)
        | Message::Inquiry(_)
        | Message::Heard(_)
        | Message::Suspicion(_)
        | Message::Bye(_)
        | Message::Digest(_)
        | Message::Refusal(_)
        | Message::Naming(_)
        | Message::Carry(_)
        | Message::Got(_)
        | Message::Back(_)
        | Message::Spread(_)
        | Message::Covered(_)
        | Message::Offer(_)
        | Message::Log(_)
        | Message::LogPiece(_)
        | Message::Bulk(_)
        | Message::LogReceipt(_)
        | Message::Contents(_)
        | Message::Canary => &[],
    }
}

/// The first bytes of something foreign, in words.
fn beginning(datagram: &[u8]) -> String {
    if datagram.is_empty() { "nothing, it is empty".to_owned() } else { hex(&datagram[..datagram.len().min(8)]) }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
