//! Decides under which key two nodes write to each other: one for each direction and pair of runs, of which no third has a share.

use core::fmt;

use zeroize::Zeroizing;

use crate::effect::context::Context;
use crate::ground::bounded::RecentMap;
use crate::ground::config::MAX_PEERS;
use crate::ground::id::{Epoch, NodeId};

/// The keys of two nodes in their runs.
pub(super) struct Pair {
    /// Of letters that this node writes.
    pub(super) outward: Zeroizing<[u8; 32]>,
    /// Of letters that the other writes.
    pub(super) inward: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pair(…)")
    }
}

/// Keys made so far: one costs as much as a signature. The one made longest ago makes room.
#[derive(Debug)]
pub(super) struct Keys {
    /// With the run of the other. `None`: its key is of low order.
    made: RecentMap<NodeId, (Epoch, Option<Pair>)>,
}

impl Keys {
    pub(super) fn new() -> Self {
        Self { made: RecentMap::new(MAX_PEERS) }
    }

    /// The keys with a peer in the run that its card speaks for.
    pub(super) fn with(&mut self, peer: &NodeId, ctx: &Context) -> Option<(Epoch, &Pair)> {
        let held = ctx.roster.get(peer)?;
        let epoch = held.epoch();
        if self.made.get(peer).is_none_or(|(of, _)| *of != epoch) {
            let pair = make(&held.card.exchange_key, epoch, ctx);
            self.made.insert(*peer, (epoch, pair));
        }
        let (_, pair) = self.made.get(peer)?;
        pair.as_ref().map(|pair| (epoch, pair))
    }

    pub(super) fn len(&self) -> usize {
        self.made.len()
    }
}

fn make(theirs: &[u8; 32], epoch: Epoch, ctx: &Context) -> Option<Pair> {
    let secret = ctx.me.identity.shared_secret(theirs)?;
    let group = ctx.config.group_key();
    let derive = |origin: Epoch, destination: Epoch| {
        let mut hasher = blake3::Hasher::new_derive_key("kodikon mesh 2026-11 pair");
        hasher.update(&secret[..]).update(&group[..]);
        hasher.update(&origin.0.to_le_bytes()).update(&destination.0.to_le_bytes());
        Zeroizing::new(*hasher.finalize().as_bytes())
    };
    Some(Pair { outward: derive(ctx.me.epoch, epoch), inward: derive(epoch, ctx.me.epoch) })
}
