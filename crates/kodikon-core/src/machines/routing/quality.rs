//! Decides how good a link is: what of a neighbour's words is lost on the way here, and how long an answer takes.

use crate::effect::{Arrival, Cast};
use crate::ground::bounded::BoundedMap;
use crate::ground::config::MAX_PEERS;
use crate::ground::id::{InterfaceIndex, NodeId};
use crate::ground::time::{Duration, Instant};
use crate::model::links::LossClass;

/// Links measured: a host's neighbours are on one interface each, most of them. What finds no place counts as clean.
const MAX_LINKS: usize = 2 * MAX_PEERS;
/// What was seen is halved each so often: of a beacon each five seconds 72 samples stay in the mean, which tell 20 % of loss
/// within 5 % in two cases of three, with turns and letters nearer.
const HALVE_EVERY: Duration = Duration::from_secs(240);
/// And when so much was seen, so that a link with traffic is known sooner.
const HALVE_AT: u32 = 256;
/// A link of which so long nothing was seen makes room for another.
const KEPT: Duration = Duration::from_secs(600);
/// Fewer samples say nothing yet.
const ENOUGH: u32 = 32;
/// Letters counted in a second: a stream of thousands says no more of a link than this, and would forget a minute in a moment.
const LETTERS_A_SECOND: u32 = 4;
/// Beacons or turns that one gap counts for at most: a silence of minutes is for the verdicts to judge.
const MAX_GAP: u32 = 8;
/// A class is left when the loss is beyond its bounds by so much, in thousandths,
const MARGIN: u32 = 50;
/// for a worse one at most so often,
const WORSE_AFTER: Duration = Duration::from_secs(10);
/// and for a better one so long after the last change: who hurries back to a bad link leaves it again.
const BETTER_AFTER: Duration = Duration::from_secs(300);
/// A round trip of letters older than this says nothing of now: a link that nothing is sent by any more is judged by probes. Who is
/// spoken with is asked as often as this besides (`liveness/measuring.rs`), so that one that is still slow has a fresh probe to tell so.
const RTT_KEPT: Duration = Duration::from_secs(60);
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
    /// Of its answers to letters (RFC 6298 §2), and when the last came.
    rtt: Option<(Duration, Instant)>,
    /// The number of its last beacon here by each way to all: a way that passes nothing at all is no loss.
    last: [Option<u32>; 3],
    /// When its last turn to say that it lives came, and after how long the next is due.
    turn: Option<(Instant, Duration)>,
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

    /// The round trip of letters, while it says something of now.
    fn rtt(&self, now: Instant) -> Option<Duration> {
        self.rtt.filter(|(_, at)| now.since(*at) < RTT_KEPT).map(|(rtt, _)| rtt)
    }

    /// Chooses the class anew, from the loss and from a round trip, ours or that of probes.
    fn settle(&mut self, now: Instant, probed: Option<Duration>) {
        self.age(now);
        let worth = self.loss().max(self.rtt(now).or(probed).map_or(0, rtt_worth));
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

    pub(super) fn len(&self) -> usize {
        self.links.len()
    }

    /// Entries at most.
    pub(super) fn limit(&self) -> usize {
        self.links.limit()
    }

    /// What was seen of a link stays when its neighbour is not heard for a while: the worst ones come and go.
    fn link(&mut self, now: Instant, id: NodeId, index: InterfaceIndex) -> Option<&mut Quality> {
        if !self.links.contains_key(&(index, id)) {
            if self.links.is_full() {
                self.links.retain(|_, link| link.halved.is_some_and(|at| now.since(at) < KEPT));
            }
            self.links.insert((index, id), Quality::default()).ok()?;
        }
        self.links.get_mut(&(index, id))
    }

    /// A beacon of a neighbour came. Those between its number and that of the last by the same way were lost; a new run begins
    /// anew.
    pub(super) fn on_beacon(&mut self, now: Instant, id: NodeId, arrival: Arrival, number: u32) {
        let Some(way) = Cast::GROUPS.iter().position(|cast| *cast == arrival.cast) else { return };
        let Some(link) = self.link(now, id, arrival.interface) else { return };
        let ahead = link.last[way].map_or(1, |last| number.wrapping_sub(last));
        if ahead == 0 || ahead > u32::MAX - MAX_GAP {
            return;
        }
        link.last[way] = Some(number);
        // More than a silence can hold is no gap: it counts anew.
        if ahead <= MAX_GAP {
            link.add(now, 1, ahead - 1);
        }
    }

    /// A neighbour's turn to tell us that it lives came, and the next is due after so long; never, if that is zero.
    pub(super) fn on_turn(&mut self, now: Instant, id: NodeId, index: InterfaceIndex, due: Duration) {
        let Some(link) = self.link(now, id, index) else { return };
        let promised = link.turn.replace((now, due)).filter(|(_, due)| !due.is_zero());
        // The nearest turn: what is said is a little early or late.
        let turns = promised.map_or(1, |(last, due)| (now.since(last) + due / 2).as_nanos() / due.as_nanos());
        match u32::try_from(turns) {
            Ok(turns) if turns <= MAX_GAP => link.add(now, 1, turns.saturating_sub(1)),
            Ok(_) | Err(_) => {}
        }
    }

    /// A letter given to a neighbour was taken after so long, or not at once.
    pub(super) fn on_carried(&mut self, now: Instant, id: NodeId, index: InterfaceIndex, rtt: Option<Duration>) {
        let Some(link) = self.link(now, id, index) else { return };
        if let Some(rtt) = rtt {
            link.rtt = Some((link.rtt(now).map_or(rtt, |smooth| (smooth * 7 + rtt) / 8), now));
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
        let link = if measured { self.link(now, *id, index) } else { self.links.get_mut(&(index, *id)) };
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

    /// A group datagram of a neighbour.
    fn by(cast: Cast) -> Arrival {
        Arrival { from: (core::net::Ipv4Addr::LOCALHOST, 10_000).into(), interface: ETH, cast }
    }

    /// The class after so many beacons, one each five seconds, of which every `nth` is lost.
    fn after(qualities: &mut Qualities, from: u32, beacons: u32, nth: u32) -> LossClass {
        let mut class = LossClass::CLEAN;
        for n in from..from + beacons {
            if nth == 0 || n % nth != 0 {
                qualities.on_beacon(at(u64::from(n) * 5), PEER, by(Cast::Multicast4), n);
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
            qualities.on_beacon(at(1), PEER, by(Cast::Multicast4), n);
        }
        // By another way they are counted by themselves, and alone a beacon counts for nothing.
        qualities.on_beacon(at(1), PEER, by(Cast::Broadcast), 7);
        qualities.on_beacon(at(1), PEER, by(Cast::Unicast), 70);
        let link = qualities.links.get(&(ETH, PEER)).expect("it was heard");
        assert_eq!(link.one_way.expected, link.one_way.came, "{link:?}");
    }

    #[test]
    fn a_turn_is_lost_if_it_was_promised() {
        // (promised every so many seconds, came after so many, lost)
        let table = [(5, 5, 0), (5, 6, 0), (5, 4, 0), (5, 10, 1), (5, 21, 3), (5, 500, 0), (0, 10, 0), (5, 0, 0)];
        for (promised, after, lost) in table {
            let mut qualities = Qualities::new();
            qualities.on_turn(at(1), PEER, ETH, Duration::from_secs(promised));
            qualities.on_turn(at(1 + after), PEER, ETH, Duration::from_secs(promised));
            let counted = qualities.links.get(&(ETH, PEER)).expect("it was heard").one_way;
            assert_eq!(counted.expected - counted.came, lost, "{promised} s promised, {after} s later");
        }
    }

    #[test]
    fn turns_and_letters_tell_the_same_loss_as_beacons() {
        let mut turns = Qualities::new();
        let mut letters = Qualities::new();
        for n in 0..200 {
            if ![1, 3].contains(&(n % 5)) {
                turns.on_turn(at(n * 5), PEER, ETH, Duration::from_secs(5));
            }
            // Two of five are lost each way: nine of 25 are answered.
            letters.on_carried(at(n), PEER, ETH, (n * 9 % 25 < 9).then(|| Duration::from_millis(1)));
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
        let letter = |qualities: &mut Qualities, s: u64, came: bool| {
            qualities.on_carried(at(s), PEER, ETH, came.then(|| Duration::from_millis(1)));
            qualities.class(at(s), &PEER, ETH, None)
        };
        let worse = (1..).find(|n| letter(&mut qualities, 1_000 + n * 5, false) > LossClass::CLEAN);
        assert!(worse.is_some_and(|n| n * 5 <= 90), "after {worse:?} lost ones in a row");
        let better = (1..).find(|n| letter(&mut qualities, 2_000 + n * 5, true) == LossClass::CLEAN);
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

    /// Letters went another way because of it, so that it was never measured again.
    #[test]
    fn a_round_trip_of_letters_is_forgotten_when_none_went_for_a_minute() {
        let slow = Duration::from_millis(100);
        // (seconds since the last letter, the round trip of probes then, the class)
        let table = [
            (59, None, 340),
            (59, Some(1), 340),
            (400, None, 0),
            (400, Some(1), 0),
            (400, Some(100), 340),
            // Its class is kept as long as ever.
            (299, None, 340),
        ];
        for (s, probed, permille) in table {
            let mut qualities = Qualities::new();
            qualities.on_carried(at(1), PEER, ETH, Some(slow));
            assert_eq!(qualities.class(at(1), &PEER, ETH, None).permille(), 340);
            let class = qualities.class(at(1 + s), &PEER, ETH, probed.map(Duration::from_millis));
            assert_eq!(class.permille(), permille, "{s} s later, probes {probed:?}");
        }
        // The first one after a pause tells alone how it is now, and is smoothed with those after it.
        let mut qualities = Qualities::new();
        for (s, ms, expected) in [(1, 100, 100), (60, 20, 90), (120, 20, 20), (121, 100, 30)] {
            qualities.on_carried(at(s), PEER, ETH, Some(Duration::from_millis(ms)));
            let link = qualities.links.get(&(ETH, PEER)).expect("it was heard");
            assert_eq!(link.rtt(at(s)), Some(Duration::from_millis(expected)), "at {s} s");
        }
    }

    #[test]
    fn what_finds_no_place_counts_as_clean_until_others_are_not_heard_for_long() {
        let mut qualities = Qualities::new();
        let id = |n: usize| NodeId(core::array::from_fn(|byte| (n >> (8 * (byte % 4))) as u8));
        for n in 0..=MAX_LINKS {
            (0..40).for_each(|s| qualities.on_carried(at(s), id(n), ETH, None));
        }
        assert_eq!(qualities.len(), qualities.limit());
        assert_eq!(qualities.class(at(40), &id(MAX_LINKS), ETH, None), LossClass::CLEAN);
        assert!(qualities.class(at(40), &id(0), ETH, None) > LossClass::CLEAN);
        // Of whom nothing was seen for long there is no need to know.
        qualities.on_turn(at(600), id(1), ETH, Duration::ZERO);
        qualities.on_turn(at(700), id(MAX_LINKS), ETH, Duration::ZERO);
        assert_eq!(qualities.len(), 2);
        qualities.clear();
        assert_eq!(qualities.len(), 0);
    }
}
