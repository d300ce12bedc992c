//! Decides when a node offers what it holds to a segment: the net under forwarders that died and maps that differ.

use std::collections::{BTreeMap, BTreeSet};

use crate::ground::id::InterfaceIndex;
use crate::ground::random::Random;
use crate::ground::time::{Duration, Instant};
use crate::model::cast::CastId;

/// When it is offered after the last new cast: so long, and as long again by chance. The forwarder has repeated it to most of
/// those who lost it by the first; the last comes within the shortest deadline of what is acknowledged, 5 s.
const ROUNDS: [Duration; 3] = [Duration::from_millis(300), Duration::from_millis(900), Duration::from_millis(1_800)];
/// Somebody came: it is offered so soon, and as long again by chance.
const TO_NEWCOMERS: Duration = Duration::from_millis(100);

/// When the next round on an interface is due.
#[derive(Debug, Clone, Copy)]
struct Turn {
    due: Instant,
    round: usize,
}

/// The turns of all interfaces: as many as there are.
#[derive(Debug, Default)]
pub(super) struct Offers {
    turns: BTreeMap<InterfaceIndex, Turn>,
}

impl Offers {
    /// A new cast is to be offered there.
    pub(super) fn begin(&mut self, now: Instant, on: InterfaceIndex, random: &mut Random) {
        let due = now + ROUNDS[0] + random.span(ROUNDS[0]);
        let turn = self.turns.entry(on).or_insert(Turn { due, round: 0 });
        if turn.round > 0 {
            *turn = Turn { due, round: 0 };
        }
    }

    /// Somebody is there who was not.
    pub(super) fn hasten(&mut self, now: Instant, on: InterfaceIndex, random: &mut Random) {
        let due = now + TO_NEWCOMERS + random.span(TO_NEWCOMERS);
        let turn = self.turns.entry(on).or_insert(Turn { due, round: 0 });
        turn.due = turn.due.min(due);
    }

    /// Another offered all of it there: this round is done.
    pub(super) fn pass(&mut self, now: Instant, on: InterfaceIndex, random: &mut Random) {
        let Some(turn) = self.turns.get_mut(&on) else { return };
        turn.round += 1;
        match ROUNDS.get(turn.round) {
            Some(round) => turn.due = now + *round + random.span(*round),
            None => drop(self.turns.remove(&on)),
        }
    }

    /// Nothing is left to offer there.
    pub(super) fn end(&mut self, on: InterfaceIndex) {
        self.turns.remove(&on);
    }

    /// Where it is our turn.
    pub(super) fn due(&self, now: Instant) -> Option<InterfaceIndex> {
        self.turns.iter().find(|(_, turn)| now >= turn.due).map(|(on, _)| *on)
    }

    pub(super) fn is_waiting(&self, on: InterfaceIndex) -> bool {
        self.turns.contains_key(&on)
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.turns.values().map(|turn| turn.due).min()
    }
}

/// The newest of what is held, as far as a few datagrams tell of it.
pub(super) fn newest(mut held: Vec<(Instant, CastId)>, most: usize) -> BTreeSet<CastId> {
    held.sort_unstable_by(|a, b| b.cmp(a));
    held.into_iter().take(most).map(|(_, id)| id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ON: InterfaceIndex = InterfaceIndex(1);

    #[test]
    fn it_is_offered_three_times_within_five_seconds_and_anew_after_a_new_cast() {
        let mut random = Random::from_seed([1; 32]);
        for _ in 0..100 {
            let mut offers = Offers::default();
            offers.begin(Instant::ZERO, ON, &mut random);
            let mut rounds = 0;
            let mut last = Instant::ZERO;
            while let Some(due) = offers.next_deadline() {
                assert_eq!((offers.due(due - Duration::from_millis(1)), offers.due(due)), (None, Some(ON)));
                offers.pass(due, ON, &mut random);
                assert_ne!(offers.next_deadline(), Some(due), "the driver would spin");
                (rounds, last) = (rounds + 1, due);
            }
            assert_eq!(rounds, 3);
            assert!(last < Instant::ZERO + Duration::from_secs(6), "{last:?}");
        }
    }

    #[test]
    fn a_new_cast_begins_anew_and_does_not_put_off_what_waits() {
        let mut random = Random::from_seed([1; 32]);
        let mut offers = Offers::default();
        offers.begin(Instant::ZERO, ON, &mut random);
        let first = offers.next_deadline();
        offers.begin(Instant::ZERO + Duration::from_millis(200), ON, &mut random);
        assert_eq!(offers.next_deadline(), first);
        let now = Instant::ZERO + Duration::from_secs(1);
        offers.pass(now, ON, &mut random);
        offers.begin(now, ON, &mut random);
        assert!(offers.next_deadline() <= Some(now + Duration::from_millis(600)));
        offers.hasten(now, ON, &mut random);
        assert!(offers.next_deadline() <= Some(now + Duration::from_millis(200)));
    }
}
