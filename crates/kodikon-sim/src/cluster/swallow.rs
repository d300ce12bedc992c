//! Decides what a member says that takes over what others say and passes none of it on: all that an honest one says but others' letters,
//! casts, alerts and sightings.
//!
//! It is a whole node, whose frames are opened on their way out and sealed again without what is others'. So it has all that
//! makes others trust it (links that work, heartbeats, receipts for what it took), which no enemy of a few lines has.

use kodikon_core::effect::Transmit;
use kodikon_core::ground::config::Config;
use kodikon_core::ground::id::NodeId;
use kodikon_core::model::identity::Identity;
use kodikon_core::wire::codec;
use kodikon_core::wire::header::Header;
use kodikon_core::wire::message::Message;
use kodikon_core::wire::seal::GroupKey;

/// A member of that kind.
#[derive(Debug)]
pub struct Swallower {
    own: NodeId,
    group: GroupKey,
    /// Messages with letters, casts and entries of others' logs that did not leave.
    pub swallowed: u64,
}

impl Swallower {
    /// The member with this secret.
    #[must_use]
    pub fn new(secret: &[u8; 32], config: &Config) -> Self {
        let own = Identity::from_secret(secret).id();
        Self { own, group: GroupKey::new(&config.group_key()), swallowed: 0 }
    }

    /// What leaves of a frame; nothing of one that held others' words alone.
    pub(super) fn pass(&mut self, transmit: Transmit) -> Option<Transmit> {
        let Ok(header) = Header::decode(&transmit.bytes) else { return Some(transmit) };
        let key = self.group.session(header.tag);
        let mut frame = transmit.bytes.clone();
        let Ok(batch) = key.open(&header, &mut frame).and_then(codec::decode) else { return Some(transmit) };
        let all = batch.messages.len();
        let rest: Vec<Message> = batch.messages.into_iter().filter(|message| !self.keeps(message)).collect();
        if rest.len() == all {
            return Some(transmit);
        }
        self.swallowed += (all - rest.len()) as u64;
        if rest.is_empty() {
            return None;
        }
        let mut text = Vec::new();
        rest.iter().for_each(|message| codec::encode(message, &mut text));
        Some(Transmit { bytes: key.seal(&header, &text), ..transmit })
    }

    fn keeps(&self, message: &Message) -> bool {
        let own = self.own.0;
        if let Message::Carry(carry) = message {
            carry.letter.origin != own
        } else if let Message::Back(back) = message {
            back.letter.origin != own
        } else if let Message::Spread(spread) = message {
            spread.cast.origin != own
        } else if let Message::Log(log) = message {
            log.entries.iter().any(|entry| entry.op.author() != self.own)
        } else if let Message::LogPiece(piece) = message {
            piece.author != own
        } else {
            false
        }
    }
}
