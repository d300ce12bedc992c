//! Decides how long a node counts that this one does not hear itself: as long as the map has a way to it.

use crate::effect::Event;
use crate::effect::context::Context;
use crate::effect::outbox::Notice;
use crate::ground::id::NodeId;
use crate::ground::time::{Duration, Instant};
use crate::machines::membership::Membership;
use crate::model::member::{Card, Liveness, REASON_NO_WAY, REASON_SILENCE};
use crate::model::op::SignedOp;
use crate::model::roster::{Far, Regained};

/// What must have passed of the hard bound since a node was heard until others are believed to hear it because they list it: by
/// then its dead are off the lists.
pub const STILL_LISTED: (u32, u32) = (6, 5);

/// A way that was there for less was no sign of life: who comes back after a stop tells within this of whom it hears no more
/// (docs/machines/routing.md).
const BRIEF: Duration = Duration::from_secs(6);

/// Within this a segment whose namer went, or that is named anew, has its ways again, and all are told.
pub const RELISTED: Duration = Duration::from_secs(3);

impl Membership {
    /// A node that others hear counts here too. Its card was checked.
    pub fn admit_far(&mut self, now: Instant, op: SignedOp, card: Card, shown_by: NodeId, ctx: &mut Context) {
        let id = op.author();
        let is_over = ctx.roster.is_over(&id, op.epoch());
        let is_held = ctx.roster.get(&id).is_some_and(|peer| peer.liveness.is_present() && peer.epoch() == op.epoch());
        if !is_over && !is_held && self.take_in(now, op, card, Liveness::Introduced, ctx) {
            self.rise_far(now, id, Some(shown_by), ctx);
        }
    }

    /// A node that was vouched for does not answer, but others hear it.
    pub fn rise_far(&mut self, now: Instant, id: NodeId, shown_by: Option<NodeId>, ctx: &mut Context) {
        ctx.roster.set_far(&id, Some(Far { shown_by, ..Far::default() }));
        self.rise(now, id, ctx);
    }

    /// A peer is not heard here any more, but others hear it: it is far from now on, and nobody need doubt it.
    pub fn withdraw_to_far(&mut self, now: Instant, id: NodeId, ctx: &mut Context) {
        let Some(peer) = ctx.roster.get_mut(&id).filter(|peer| peer.is_near()) else { return };
        let silent = peer.heard;
        peer.note_heard(now);
        if peer.liveness == Liveness::Suspect {
            let event =
                Event::PeerUp { peer: id, name: peer.card.shown_name(), epoch: peer.epoch(), life: peer.life() };
            ctx.roster.set_liveness(now, &id, Liveness::Alive, "");
            ctx.out.event(event);
        }
        ctx.roster.set_far(&id, Some(Far { silent, ..Far::default() }));
        ctx.out.notice(Notice::Far(id));
    }

    /// Looks at a far peer again: `relays` stand between it and us, or there is no way.
    pub fn review(&mut self, now: Instant, id: NodeId, relays: Option<u8>, ctx: &mut Context) {
        let Some(peer) = ctx.roster.get_mut(&id).filter(|peer| peer.liveness.is_present()) else { return };
        let Some(far) = peer.far else { return };
        if let Some(relays) = relays {
            peer.heard = Some(now);
            let was_suspect = peer.liveness == Liveness::Suspect;
            let regained = far.lost.map(|lost| Regained { at: now, lost }).or(far.regained);
            ctx.roster.set_far(&id, Some(Far { lost: None, regained, relays, ..far }));
            if was_suspect {
                self.clear(now, id, ctx);
            }
            return;
        }
        // A way that was there for a moment shows that somebody came back who still listed it, not that it was heard.
        let before = far.regained.filter(|way| now < way.at + BRIEF).map(|way| way.lost);
        let lost = far.lost.or(before).unwrap_or(now);
        ctx.roster.set_far(&id, Some(Far { lost: Some(lost), ..far }));
        // Of one that was heard here the bound runs from then: those who still listed it may have been as late as we. Whoever
        // lists it when its dead are off the lists has heard it since: then it runs from when they ceased.
        let is_late = |silent: &Instant| lost < *silent + ctx.hard_bound() * STILL_LISTED.0 / STILL_LISTED.1;
        let doubt = lost + ctx.config.profile.suspicion();
        // Whom its namer hears no more and drops waits before it names a part of the segment anew, and who does not hear that one either
        // learns of the name when roots are compared: a suspicion is shorter than that.
        let bound = (doubt + RELISTED).max(far.silent.filter(is_late).unwrap_or(lost) + ctx.hard_bound());
        let Some(peer) = ctx.roster.get(&id) else { return };
        let is_credible =
            |witness: &NodeId| ctx.roster.get(witness).is_some_and(|held| held.liveness == Liveness::Alive);
        // Whom others heard when the hard bound was over here they may hear still, and tell so in a moment.
        let was_over = |silent: &Instant| lost >= *silent + ctx.hard_bound() * 4 / 5 && is_late(silent);
        let is_listed_soon = far.silent.as_ref().is_some_and(was_over) && now < lost + RELISTED;
        if !is_listed_soon && peer.witnesses.keys().any(is_credible) {
            self.fail(now, id, REASON_SILENCE, ctx);
        } else if now >= bound {
            self.fail(now, id, REASON_NO_WAY, ctx);
        } else if now >= doubt {
            let me = ctx.me.id;
            self.suspect(now, id, me, REASON_NO_WAY, ctx);
        }
    }
}
