//! Decides whether what was said to all kept its promises: told once and as it was said, and to all to whom a sound way led.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use kodikon_core::effect::BroadcastOrder;
use kodikon_core::model::letter::{Priority, Ticket};

use crate::checks::letters::{DETOUR, Given, Party, digest_of};
use crate::checks::{Check, Watch};
use crate::metrics::millis;
use crate::moment::Moment;
use crate::workload::letters::number_of;

/// What telling the last may take beyond the deadline.
const MARGIN: Duration = Duration::from_secs(1);
/// For so long after its deadline a cast is remembered: whoever is told later is told what nobody said.
const REMEMBERED: Duration = Duration::from_secs(120);

/// All that was said to all lately.
#[derive(Debug, Default)]
pub struct Casts {
    all: BTreeMap<Ticket, Cast>,
    due: BTreeSet<(Moment, Ticket)>,
    over: BTreeSet<(Moment, Ticket)>,
    /// The fewest payload datagrams that would have done.
    least: u64,
}

#[derive(Debug)]
struct Cast {
    by: Party,
    at: Moment,
    priority: Priority,
    text: u64,
    /// Those who lived when it was said.
    bearers: Vec<Party>,
    /// Nodes that were told.
    told: BTreeSet<usize>,
}

impl Casts {
    /// The fewest payload datagrams that would have done for all that was said.
    #[must_use]
    pub fn least(&self) -> u64 {
        self.least
    }
}

impl Watch {
    /// A node's application says something to all.
    pub(super) fn say(&mut self, now: Moment, node: usize, order: &BroadcastOrder) {
        let BroadcastOrder { ticket, kind, payload, priority } = order;
        let bearers: Vec<Party> = self.truth.live().map(|other| self.party(other)).collect();
        let cast = Cast {
            by: self.party(node),
            at: now,
            priority: *priority,
            text: digest_of(kind, payload),
            bearers,
            told: BTreeSet::new(),
        };
        let deadline = priority.deadline();
        self.metrics.count("casts_said");
        let copies = if *priority == Priority::Critical { 2 } else { 1 };
        let pieces = (payload.len() + kind.len() + 8).div_ceil(kodikon_core::wire::letter::MAX_PIECE) as u64;
        self.casts.least += copies * pieces * self.truth.least_segments(node);
        self.casts.due.insert((now + deadline + MARGIN, *ticket));
        self.casts.over.insert((now + deadline + REMEMBERED, *ticket));
        let before = self.casts.all.insert(*ticket, cast);
        assert!(before.is_none(), "no two casts of a run have one number");
    }

    /// A node tells its application what another said to all.
    pub(super) fn told(&mut self, now: Moment, node: usize, given: &Given<'_>) {
        if self.truth.is_hostile(&given.from) {
            return;
        }
        let receiver = self.party(node);
        let number = number_of(given.payload).map(Ticket);
        let Some(cast) = number.and_then(|number| self.casts.all.get_mut(&number)) else {
            self.tally.check(now, Check::CastTrue, false, || {
                format!("node {node} is told {} B of {:?} that nobody said lately", given.payload.len(), given.from)
            });
            return;
        };
        let is_true = cast.text == digest_of(given.kind, given.payload)
            && (cast.by.id, cast.priority) == (given.from, given.priority)
            && cast.by.id != receiver.id;
        self.tally.check(now, Check::CastTrue, is_true, || {
            let (from, priority) = (given.from, given.priority);
            format!(
                "node {node} is told {number:?} of {from:?}, {priority:?}, and not as node {} said it",
                cast.by.node
            )
        });
        let is_first = cast.told.insert(node);
        self.tally.check(now, Check::CastOnce, is_first, || {
            format!("node {node} is told {number:?} of node {} again", cast.by.node)
        });
        let bore: Option<&Party> = cast.bearers.iter().find(|bearer| bearer.node == node && bearer.id == receiver.id);
        self.tally.check(now, Check::CastOnce, bore.is_none_or(|bore| *bore == receiver), || {
            format!("node {node} is told {number:?} in {:?}, and it was said to {bore:?}", receiver.epoch)
        });
        if is_first {
            self.metrics.count("casts_told");
            self.metrics.sample("cast_ms", millis(now, cast.at));
        }
    }

    /// Looks whether casts whose time is over are with all who could have them.
    pub(super) fn check_casts(&mut self, now: Moment) {
        while let Some(&(at, ticket)) = self.casts.due.first().filter(|(at, _)| *at <= now) {
            self.casts.due.remove(&(at, ticket));
            let lacking = self.lacking(&self.casts.all[&ticket]);
            let cast = &self.casts.all[&ticket];
            self.tally.check(now, Check::CastReliable, lacking.is_empty(), || {
                format!(
                    "{ticket:?} of node {}, {:?}, said at {} to {:?}: nodes {lacking:?} were not told",
                    cast.by.node, cast.priority, cast.at, cast.told
                )
            });
        }
        while let Some(&(at, ticket)) = self.casts.over.first().filter(|(at, _)| *at <= now) {
            self.casts.over.remove(&(at, ticket));
            self.casts.all.remove(&ticket);
        }
    }

    /// Who should have been told and was not: all who lived, since long, and were joined with its origin by sound nodes and links,
    /// from long before it was said until now.
    fn lacking(&self, cast: &Cast) -> Vec<usize> {
        if cast.priority == Priority::Low || !self.letters.all_fit || !self.lasts(cast.by, cast.at) {
            return Vec::new();
        }
        let slack = if self.truth.places.is_tree() { 0 } else { DETOUR };
        let most = u32::from(self.letters.max_hops) + 1;
        let due = self.sound_bearers((cast.by, cast.at), &cast.bearers, |links| links + slack <= most);
        due.map(|bearer| bearer.node).filter(|node| !cast.told.contains(node)).collect()
    }
}

#[cfg(test)]
mod tests;
