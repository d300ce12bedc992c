//! Decides how good a link is: what of a neighbour's words is lost on the way here, and how long an answer takes.

use crate::ground::bounded::BoundedMap;
use crate::ground::config::MAX_PEERS;
use crate::ground::id::{InterfaceIndex, NodeId};
use crate::ground::time::{Duration, Instant};
use crate::model::links::LossClass;

/// Links measured: a host's neighbours are on one interface each, most of them. What finds no place counts as clean.
const MAX_LINKS: usize = 2 * MAX_PEERS;
/// What was seen is halved each so often: a beacon each five seconds and a turn as often are 96 samples in the mean, which
/// tells 20 % of loss within 4 % in two cases of three.
const HALVE_EVERY: Duration = Duration::from_secs(120);
/// And when so much was seen, so that a link with traffic is known sooner.
const HALVE_AT: u32 = 256;
/// Fewer samples say nothing yet.
const ENOUGH: u32 = 16;
/// Letters counted in a second: a stream of thousands says no more of a link than this, and would forget a minute in a moment.
const LETTERS_A_SECOND: u32 = 4;
/// Beacons that one gap counts for at most: a silence of minutes is for the verdicts to judge.
const MAX_GAP: u32 = 8;
/// A class is left when the loss is beyond its bounds by so much, in thousandths,
const MARGIN: u32 = 50;
/// for a worse one at most so often,
const WORSE_AFTER: Duration = Duration::from_secs(10);
/// and for a better one so long after the last change: who hurries back to a bad link leaves it again.
const BETTER_AFTER: Duration = Duration::from_secs(120);
/// A round trip that is worth as much as a loss: from where it counts, and from where on it counts no more (babeld's
/// `rtt-min` and `rtt-max`, 10 and 120 ms), and the loss in thousandths at both ends of that range.
const RTT_FROM: Duration = Duration::from_millis(10);
const RTT_TO: Duration = Duration::from_millis(120);
const RTT_LOSS: (u32, u32) = (120, 400);

/// What was seen of one link.
#[derive(Debug, Default)]
struct Quality {
    /// Words of the neighbour that should have come, and those that came.
    one_way: Counted,
    /// Letters given to it, and those that it took in answer to the first carrying.
    both_ways: Counted,
    /// Of its answers to letters (RFC 6298 §2).
    rtt: Option<Duration>,
    /// The number of its last beacon here.
    last: Option<u32>,
    halved: Option<Instant>,
    /// Letters counted in this second.
    second: Option<(Instant, u32)>,
    class: LossClass,
    /// When it got its class; the first is clean, and nobody waited for it.
    since: Option<Instant>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Counted {
    expected: u32,
    came: u32,
}

impl Counted {
    fn add(&mut self, came: u32, lost: u32) {
        self.expected += came + lost;
        self.came += came;
    }

    fn halve(&mut self) {
        (self.expected, self.came) = (self.expected / 2, self.came / 2);
    }
}

impl Quality {
    fn add(&mut self, now: Instant, came: u32, lost: u32) {
        self.one_way.add(came, lost);
        self.age(now);
    }

    /// Forgets half of what is old, or of what is much.
    fn age(&mut self, now: Instant) {
        let since = *self.halved.get_or_insert(now);
        if now.since(since) >= HALVE_EVERY || self.one_way.expected + self.both_ways.expected >= HALVE_AT {
            self.one_way.halve();
            self.both_ways.halve();
            self.halved = Some(now);
        }
    }

    /// What is lost one way, in thousandths; a letter and its answer are lost as often both ways as its root says.
    fn loss(&self) -> u32 {
        let (one, both) = (self.one_way, self.both_ways);
        let all = one.expected + both.expected;
        if all < ENOUGH {
            return 0;
        }
        let passes = |counted: Counted| counted.came * 1_000 / counted.expected.max(1);
        let root = (u64::from(passes(both)) * 1_000).isqrt();
        let root = u32::try_from(root).unwrap_or(1_000);
        let lost = (1_000 - passes(one)) * one.expected + (1_000 - root) * both.expected;
        lost / all
    }

    /// Chooses the class anew, from the loss and from a round trip, ours or that of probes.
    fn settle(&mut self, now: Instant, probed: Option<Duration>) {
        self.age(now);
        let worth = self.loss().max(self.rtt.or(probed).map_or(0, rtt_worth));
        let held = self.since.map_or(Duration::MAX, |since| now.since(since));
        let (worse, better) = (LossClass::of(worth.saturating_sub(MARGIN)), LossClass::of(worth + MARGIN));
        let next = if worse > self.class && held >= WORSE_AFTER {
            worse
        } else if better < self.class && held >= BETTER_AFTER {
            better
        } else {
            return;
        };
        (self.class, self.since) = (next, Some(now));
    }
}

/// What a round trip is worth as a loss: every hop and every repetition waits for it.
fn rtt_worth(rtt: Duration) -> u32 {
    let Some(over) = rtt.checked_sub(RTT_FROM) else { return 0 };
    let (least, most) = RTT_LOSS;
    let share = over.min(RTT_TO - RTT_FROM).as_micros() * u128::from(most - least) / (RTT_TO - RTT_FROM).as_micros();
    least + u32::try_from(share).unwrap_or(most - least)
}

/// How good all links of this node are.
#[derive(Debug)]
pub(super) struct Qualities {
    links: BoundedMap<(InterfaceIndex, NodeId), Quality>,
}

impl Qualities {
    pub(super) fn new() -> Self {
        Self { links: BoundedMap::new(MAX_LINKS) }
    }

    /// Nobody needs the map: nothing is measured.
    pub(super) fn clear(&mut self) {
        self.links.retain(|_, _| false);
    }

    pub(super) fn forget(&mut self, id: &NodeId) {
        self.links.retain(|(_, held), _| held != id);
    }

    pub(super) fn len(&self) -> usize {
        self.links.len()
    }

    /// Entries at most.
    pub(super) fn limit(&self) -> usize {
        self.links.limit()
    }

    fn link(&mut self, id: NodeId, index: InterfaceIndex) -> Option<&mut Quality> {
        if !self.links.contains_key(&(index, id)) {
            self.links.insert((index, id), Quality::default()).ok()?;
        }
        self.links.get_mut(&(index, id))
    }

    /// A beacon of a neighbour came on an interface. Those between its number and the last were lost; one number comes by
    /// several ways, and a new run begins anew.
    pub(super) fn on_beacon(&mut self, now: Instant, id: NodeId, index: InterfaceIndex, number: u32) {
        let Some(link) = self.link(id, index) else { return };
        let ahead = link.last.map_or(1, |last| number.wrapping_sub(last));
        if ahead == 0 || ahead > u32::MAX - MAX_GAP {
            return;
        }
        link.last = Some(number);
        // More than a silence can hold is no gap: it counts anew.
        if ahead <= MAX_GAP {
            link.add(now, 1, ahead - 1);
        }
    }

    /// A neighbour's turn to tell us that it lives passed, and it told us or did not.
    pub(super) fn on_turn(&mut self, now: Instant, id: NodeId, index: InterfaceIndex, came: bool) {
        let Some(link) = self.link(id, index) else { return };
        link.add(now, u32::from(came), u32::from(!came));
    }

    /// A letter given to a neighbour was taken after so long, or not at once.
    pub(super) fn on_carried(&mut self, now: Instant, id: NodeId, index: InterfaceIndex, rtt: Option<Duration>) {
        let Some(link) = self.link(id, index) else { return };
        if let Some(rtt) = rtt {
            link.rtt = Some(link.rtt.map_or(rtt, |smooth| (smooth * 7 + rtt) / 8));
        }
        let (since, counted) = link.second.filter(|(since, _)| now.since(*since).as_secs() == 0).unwrap_or((now, 0));
        if counted < LETTERS_A_SECOND {
            link.second = Some((since, counted + 1));
            link.both_ways.add(u32::from(rtt.is_some()), u32::from(rtt.is_none()));
            link.age(now);
        }
    }

    /// The class of a link now; `probed` is the round trip of probes, if it was measured.
    pub(super) fn class(
        &mut self,
        now: Instant,
        id: &NodeId,
        index: InterfaceIndex,
        probed: Option<Duration>,
    ) -> LossClass {
        let measured = probed.is_some_and(|rtt| rtt_worth(rtt) > 0);
        let link = if measured { self.link(*id, index) } else { self.links.get_mut(&(index, *id)) };
        let Some(link) = link else { return LossClass::CLEAN };
        link.settle(now, probed);
        link.class
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ETH: InterfaceIndex = InterfaceIndex(2);
    const PEER: NodeId = NodeId([7; 16]);

    fn at(s: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(s)
    }

    /// The class after so many beacons, one each five seconds, of which every `nth` is lost.
    fn after(qualities: &mut Qualities, from: u32, beacons: u32, nth: u32) -> LossClass {
        let mut class = LossClass::CLEAN;
        for n in from..from + beacons {
            if nth == 0 || n % nth != 0 {
                qualities.on_beacon(at(u64::from(n) * 5), PEER, ETH, n);
            }
            class = qualities.class(at(u64::from(n) * 5), &PEER, ETH, None);
        }
        class
    }

    #[test]
    fn gaps_between_beacons_tell_what_is_lost() {
        let table = [(0, 0), (20, 0), (5, 200), (3, 340), (2, 460)];
        for (nth, permille) in table {
            let mut qualities = Qualities::new();
            let class = after(&mut qualities, 1, 300, nth);
            assert_eq!(class.permille(), permille, "each {nth}th is lost");
        }
    }

    #[test]
    fn a_number_that_comes_twice_or_late_or_jumps_is_no_gap() {
        let mut qualities = Qualities::new();
        for n in [1, 1, 2, 1, 2, 3, 900, 901, 3, 902, u32::MAX, 0, 1] {
            qualities.on_beacon(at(1), PEER, ETH, n);
        }
        let link = qualities.links.get(&(ETH, PEER)).expect("it was heard");
        assert_eq!(link.one_way.expected, link.one_way.came, "{link:?}");
    }

    #[test]
    fn turns_and_letters_tell_the_same_loss_as_beacons() {
        let mut turns = Qualities::new();
        let mut letters = Qualities::new();
        for n in 0..200 {
            turns.on_turn(at(n * 5), PEER, ETH, n % 3 != 0);
            // Both ways a third is lost on each: four of nine are answered.
            letters.on_carried(at(n), PEER, ETH, [0, 2, 4, 6].contains(&(n % 9)).then(|| Duration::from_millis(1)));
        }
        assert_eq!(turns.class(at(1_000), &PEER, ETH, None).permille(), 340);
        assert_eq!(letters.class(at(200), &PEER, ETH, None).permille(), 340);
    }

    #[test]
    fn a_loss_at_the_bound_of_two_classes_does_not_flap_between_them() {
        let mut qualities = Qualities::new();
        // A burst of bad minutes and good ones around 28 %, the bound of two classes: from 24 % to 32 %.
        let mut changes = 0;
        let mut class = after(&mut qualities, 1, 100, 4);
        for (n, spell) in (0..40).map(|spell| (101 + spell * 24, spell)) {
            let next = after(&mut qualities, n, 24, if spell % 2 == 0 { 3 } else { 4 });
            changes += usize::from(next != class);
            class = next;
        }
        assert!(changes <= 1, "{changes} in 80 minutes");
    }

    #[test]
    fn a_link_gets_worse_soon_and_better_late() {
        let mut qualities = Qualities::new();
        assert_eq!(after(&mut qualities, 1, 200, 0), LossClass::CLEAN);
        let worse = (1..).find(|n| {
            qualities.on_turn(at(1_000 + n * 5), PEER, ETH, false);
            qualities.class(at(1_000 + n * 5), &PEER, ETH, None) > LossClass::CLEAN
        });
        assert!(worse.is_some_and(|n| n * 5 <= 90), "after {worse:?} lost ones in a row");
        let better = (1..).find(|n| {
            qualities.on_turn(at(2_000 + n * 5), PEER, ETH, true);
            qualities.class(at(2_000 + n * 5), &PEER, ETH, None) == LossClass::CLEAN
        });
        assert!(better.is_some_and(|n| (60..900).contains(&(n * 5))), "after {better:?}");
    }

    #[test]
    fn a_long_round_trip_is_worth_a_loss() {
        let table = [(1, 0), (9, 0), (20, 0), (40, 200), (100, 340), (500, 340)];
        for (ms, permille) in table {
            let mut qualities = Qualities::new();
            let class = qualities.class(at(1), &PEER, ETH, Some(Duration::from_millis(ms)));
            assert_eq!(class.permille(), permille, "{ms} ms of probes");
            let mut qualities = Qualities::new();
            qualities.on_carried(at(1), PEER, ETH, Some(Duration::from_millis(ms)));
            assert_eq!(qualities.class(at(1), &PEER, ETH, None).permille(), permille, "{ms} ms of letters");
        }
    }

    #[test]
    fn what_finds_no_place_counts_as_clean() {
        let mut qualities = Qualities::new();
        let id = |n: usize| NodeId(core::array::from_fn(|byte| (n >> (8 * (byte % 4))) as u8));
        for n in 0..=MAX_LINKS {
            (0..20).for_each(|s| qualities.on_turn(at(s), id(n), ETH, false));
        }
        assert_eq!(qualities.len(), qualities.limit());
        assert_eq!(qualities.class(at(20), &id(MAX_LINKS), ETH, None), LossClass::CLEAN);
        assert!(qualities.class(at(20), &id(0), ETH, None) > LossClass::CLEAN);
        qualities.forget(&id(0));
        assert_eq!(qualities.len(), qualities.limit() - 1);
        qualities.clear();
        assert_eq!(qualities.len(), 0);
    }
}
