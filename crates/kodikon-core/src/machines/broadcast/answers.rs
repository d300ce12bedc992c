//! Decides when a neighbour is told which of its casts are here and which are wanted: a little later, so that a crowd does not
//! answer at once and several casts share an answer.

use std::collections::{BTreeMap, BTreeSet};

use crate::effect::outbox::{Destination, Outbox};
use crate::ground::bounded::BoundedMap;
use crate::ground::config::MAX_PEERS;
use crate::ground::id::NodeId;
use crate::ground::time::{Duration, Instant};
use crate::machines::broadcast::ranges::told;
use crate::model::cast::CastId;
use crate::model::windows::{Arrived, Windows};
use crate::wire::cast::{Cast, Covered, Half, MAX_COVERS, MAX_HALVES};
use crate::wire::fragments::Fragments;
use crate::wire::letter::Digest;
use crate::wire::message::Message;

/// An answer about so many casts leaves at once.
const MAX_NOTED: usize = 64;
/// To one number that is answered so many before it are told with it, so that a lost answer is made up by the next.
const BEFORE: u64 = 64;

/// Now, and how much later at most it is said.
type When = (Instant, Duration);

/// What is to be said to one neighbour.
#[derive(Debug, Clone)]
struct Answer {
    due: Instant,
    /// Casts that it gave or offered, and what names their pieces.
    noted: BTreeMap<CastId, Option<Digest>>,
    /// Casts that are wanted of it, and whether they are though they are here.
    wants: BTreeMap<CastId, bool>,
    /// Whether it is said to every address: the one that is best for us may be what died.
    everywhere: bool,
}

/// What is to be answered.
#[derive(Debug)]
pub(super) struct Answers {
    /// At most one for each peer, which gives or offers again what is not answered.
    waiting: BoundedMap<NodeId, Answer>,
}

impl Default for Answers {
    fn default() -> Self {
        Self { waiting: BoundedMap::new(MAX_PEERS) }
    }
}

impl Answers {
    /// A neighbour gave or offered a cast, or a piece of it.
    pub(super) fn note(&mut self, (now, after): When, to: NodeId, id: CastId, digest: Option<Digest>) {
        self.change((now, after), to, |answer| {
            let held = answer.noted.entry(id).or_default();
            *held = digest.or(*held);
        });
    }

    /// A cast is wanted of a neighbour, which may have it by fewer relays if it is here.
    pub(super) fn want(&mut self, (now, after): When, from: NodeId, id: CastId, is_here: bool) {
        self.change((now, after), from, |answer| {
            answer.wants.insert(id, is_here);
        });
    }

    /// A neighbour asked by every address of its own, since it heard nothing of us. For what waits for it already.
    pub(super) fn say_everywhere(&mut self, to: &NodeId) {
        if let Some(answer) = self.waiting.get_mut(to) {
            answer.everywhere = true;
        }
    }

    fn change(&mut self, (now, after): When, to: NodeId, change: impl FnOnce(&mut Answer)) {
        let fresh = Answer { due: now + after, noted: BTreeMap::new(), wants: BTreeMap::new(), everywhere: false };
        let mut answer = self.waiting.remove(&to).unwrap_or(fresh);
        change(&mut answer);
        answer.due = answer.due.min(now + after);
        if answer.noted.len() + answer.wants.len() >= MAX_NOTED {
            answer.due = answer.due.min(now);
        }
        drop(self.waiting.insert(to, answer));
    }

    /// Says what is due.
    pub(super) fn say(&mut self, now: Instant, windows: &Windows, fragments: &Fragments<Cast>, out: &mut Outbox) {
        while let Some(to) = self.waiting.iter().find(|(_, answer)| now >= answer.due).map(|(to, _)| *to) {
            let Some(answer) = self.waiting.remove(&to) else { break };
            let destination = if answer.everywhere { Destination::EveryPath(to) } else { Destination::Peer(to) };
            for covered in words(to, answer, windows, fragments) {
                out.send(destination, Message::Covered(covered));
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.waiting.values().map(|answer| answer.due).min()
    }
}

/// An answer as it is said, in as many messages as it needs.
fn words(to: NodeId, answer: Answer, windows: &Windows, fragments: &Fragments<Cast>) -> Vec<Covered> {
    let is_here = |id: &CastId| windows.standing(&id.origin, id.epoch, id.number) != Arrived::New;
    let mut here = BTreeSet::new();
    let mut halves = Vec::new();
    for (id, digest) in &answer.noted {
        if is_here(id) {
            here.insert(*id);
            let before = (1..=BEFORE).map_while(|n| id.number.checked_sub(n));
            here.extend(before.map(|number| CastId { number, ..*id }).take_while(is_here));
        } else if let Some(digest) = digest {
            let have = fragments.held(to, *digest);
            halves.push(Half { origin: id.origin.0, epoch: id.epoch.0, number: id.number, have });
        }
    }
    // What came meanwhile, from this neighbour or another, is not wanted any more.
    let is_wanted = |(id, was_here): (CastId, bool)| (was_here || !is_here(&id)).then_some(id);
    let wanted = answer.wants.into_iter().filter_map(is_wanted).collect();
    let (covers, wants) = (told(&here), told(&wanted));
    let count =
        [covers.len().div_ceil(MAX_COVERS), wants.len().div_ceil(MAX_COVERS), halves.len().div_ceil(MAX_HALVES)];
    let part = |n: usize| Covered {
        covers: covers.chunks(MAX_COVERS).nth(n).unwrap_or_default().to_vec(),
        halves: halves.chunks(MAX_HALVES).nth(n).unwrap_or_default().to_vec(),
        wants: wants.chunks(MAX_COVERS).nth(n).unwrap_or_default().to_vec(),
    };
    (0..count.into_iter().max().unwrap_or(0)).map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::id::Epoch;
    use crate::wire::cover::Interval;

    const TO: NodeId = NodeId([7; 16]);

    fn cast(number: u64) -> CastId {
        CastId { origin: NodeId([1; 16]), epoch: Epoch(1), number }
    }

    fn said(answers: &mut Answers, now: Instant, windows: &Windows) -> Vec<Covered> {
        let mut out = Outbox::default();
        answers.say(now, windows, &Fragments::default(), &mut out);
        let covered = |(_, message)| if let Message::Covered(covered) = message { Some(covered) } else { None };
        core::iter::from_fn(|| out.take_message()).filter_map(covered).collect()
    }

    #[test]
    fn one_answer_tells_what_came_what_came_just_before_and_what_is_wanted() {
        let at = |ms| Instant::ZERO + Duration::from_millis(ms);
        let (mut answers, mut windows) = (Answers::default(), Windows::default());
        for number in [3, 4, 5, 9] {
            windows.note(cast(1).origin, Epoch(1), number);
        }
        let ms = Duration::from_millis;
        answers.note((at(3), ms(2)), TO, cast(5), None);
        answers.note((at(4), ms(5)), TO, cast(9), None);
        answers.want((at(4), ms(3)), TO, cast(6), false);
        answers.want((at(4), ms(3)), TO, cast(3), true);
        answers.want((at(4), ms(3)), TO, cast(4), false);
        assert_eq!(answers.next_deadline(), Some(at(5)));
        assert_eq!(said(&mut answers, at(4), &windows), []);
        let [covered] = &said(&mut answers, at(5), &windows)[..] else { panic!("one answer") };
        let intervals = [Interval { first: 3, last: 5 }, Interval { first: 9, last: 9 }];
        assert_eq!(covered.covers[0].intervals, intervals);
        assert_eq!(covered.wants[0].intervals, [Interval { first: 3, last: 3 }, Interval { first: 6, last: 6 }]);
        assert_eq!((answers.len(), answers.next_deadline()), (0, None));
    }

    #[test]
    fn what_is_much_leaves_at_once_and_in_several_messages() {
        let now = Instant::ZERO + Duration::from_secs(100);
        let (mut answers, mut windows) = (Answers::default(), Windows::default());
        for number in (1..=2 * MAX_NOTED as u64).step_by(2) {
            windows.note(cast(1).origin, Epoch(1), number);
            answers.note((now, Duration::from_secs(9)), TO, cast(number), None);
        }
        assert_eq!(answers.next_deadline(), Some(now));
        let said = said(&mut answers, now, &windows);
        let told: usize = said.iter().flat_map(|covered| &covered.covers).map(|cover| cover.intervals.len()).sum();
        assert_eq!((said.len(), told), (4, MAX_NOTED));
    }
}
