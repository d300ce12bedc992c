//! Decides which others are asked about a peer: those on its own segments first, since nobody elsewhere may hear it.

use crate::effect::context::Context;
use crate::ground::id::{InterfaceIndex, NodeId};
use crate::model::roster::Peer;

/// Up to `count` live neighbours by chance, but for these: of those heard on an interface where the subject was, as many as there
/// are, and the rest from elsewhere. A node between six segments that drew from all of them seldom asked anybody who could
/// hear the subject at all (star-20, seed 0).
pub(super) fn draw(subject: &NodeId, count: usize, but: impl Fn(&NodeId) -> bool, ctx: &mut Context) -> Vec<NodeId> {
    let there: Vec<InterfaceIndex> = ctx.roster.get(subject).map(|peer| interfaces(peer).collect()).unwrap_or_default();
    let is_beside = |peer: &Peer| interfaces(peer).any(|index| there.contains(&index));
    let others = ctx.roster.near_alive().filter(|(id, _)| *id != subject && !but(id));
    let (beside, elsewhere): (Vec<_>, Vec<_>) = others.partition(|(_, peer)| is_beside(peer));
    let mut drawn = Vec::new();
    for mut group in [beside, elsewhere].map(|group| group.into_iter().map(|(id, _)| *id).collect::<Vec<NodeId>>()) {
        for _ in 0..(count - drawn.len()).min(group.len()) {
            let n = ctx.random.place(group.len());
            drawn.push(group.swap_remove(n));
        }
    }
    drawn
}

/// Where a peer was heard.
fn interfaces(peer: &Peer) -> impl Iterator<Item = InterfaceIndex> + '_ {
    peer.paths.iter().filter(|path| path.heard.is_some()).filter_map(|path| path.interface)
}
