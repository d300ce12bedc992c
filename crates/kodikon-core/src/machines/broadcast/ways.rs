//! Decides whether a segment is told by one group datagram or its members one by one: by proof, by loss and by budget.

use std::collections::BTreeMap;

use crate::effect::Cast as Way;
use crate::ground::bounded::{RecentMap, TokenBucket};
use crate::ground::config::MAX_PEERS;
use crate::ground::id::{InterfaceIndex, NodeId};
use crate::ground::time::{Duration, Instant};
use crate::machines::broadcast::duty::{ANSWER_UNKNOWN, REACHED_OF, RTO_MOST};
use crate::machines::broadcast::pace::{FORGOTTEN, Pace};

/// Bytes a second that casts may take of a segment by group datagrams: Wi-Fi sends these at its lowest rate (the design's
/// figures).
const WIRELESS_RATE: u32 = 32 * 1_024;
const WIRED_RATE: u32 = 4 * 1_024 * 1_024;
/// So many at once: one of the longest casts on Wi-Fi, a quarter of a second's on a wire.
const WIRELESS_BURST: u32 = 96 * 1_024;
const WIRED_BURST: u32 = 1_024 * 1_024;
/// Above this share of members that did not acknowledge the first group datagram, in thousandths, they are told one by one:
/// at a quarter lost each way, 1 - 0.75 x 0.75 is missing.
const MOST_MISSING: u32 = 440;
/// For so long after that the group is not tried again.
const SHY: Duration = Duration::from_secs(30);
/// How late a backup hears the forwarder: the latest samples, of which the second latest is the 95th percentile or later.
const SAMPLES: usize = 32;
/// A backup waits at least this long, and so long where nothing is known.
const BACKUP_LEAST: Duration = Duration::from_millis(40);
/// And at most this long: it is there for those who cannot wait.
const BACKUP_MOST: Duration = Duration::from_millis(500);

/// So many group datagrams in a row that not one member acknowledged: they do not arrive, whatever beacons prove (an enemy can
/// play what was recorded to the group). An average would take eighteen.
const MOST_UNHEARD: u32 = 3;
/// Of so many it is judged by the answers whether the way is full: of fewer it may be chance.
const JUDGED: usize = 4;
/// An answer is waited for so much longer at most, in powers of two, and so long: within the shortest deadline of what is
/// acknowledged it is given twice.
const MOST_PATIENCE: u32 = 6;
const ANSWER_MOST: Duration = Duration::from_secs(2);
/// Of how many group datagrams the share that is missing is averaged, about: one alone says little of few members.
const AVERAGED: u32 = 32;

/// What is known of the segments of this node's interfaces.
#[derive(Debug)]
pub(super) struct Ways {
    /// There are as many as interfaces.
    segments: BTreeMap<InterfaceIndex, Segment>,
    /// `None`: of those who are told one by one.
    answers: BTreeMap<Option<InterfaceIndex>, Answering>,
    /// When each neighbour answered last what it was given for the first time, and after how long. Who answered longest ago makes room.
    latest: RecentMap<NodeId, (Instant, Duration)>,
}

impl Default for Ways {
    fn default() -> Self {
        Self { segments: BTreeMap::new(), answers: BTreeMap::new(), latest: RecentMap::new(MAX_PEERS) }
    }
}

/// How long answers take.
#[derive(Debug, Default)]
struct Answering {
    /// The smoothed time and its variation (RFC 6298 §2), from answers to what was given once; `None` before the first.
    took: Option<(Duration, Duration)>,
    /// So often in a row hardly anybody who was told alone had answered when it was looked: each time the wait is twice as long, until
    /// answers tell how long they take (Karn and Partridge, 1987). Of a group it may be that it is not heard.
    patience: u32,
    /// When it was doubled last: like a limit of what the way carries that is forgotten.
    doubled: Instant,
    /// Of what is said by the group, and of what each is given alone: that a group is not heard says nothing of the way.
    by_group: Pace,
    alone: Pace,
}

impl Answering {
    /// How often the wait is doubled, as far as that is still known.
    fn patience(&self, now: Instant) -> u32 {
        if now.since(self.doubled) < FORGOTTEN { self.patience } else { 0 }
    }
}

/// How a segment can be reached, as the host hall finds it.
#[derive(Debug, Clone, Copy)]
pub struct Reach {
    /// The interface.
    pub on: InterfaceIndex,
    /// By which group address all there hear each other, if that is proven.
    pub proven: Option<Way>,
    /// Whether it is Wi-Fi.
    pub is_wireless: bool,
}

#[derive(Debug)]
struct Segment {
    proven: Option<Way>,
    is_wireless: bool,
    budget: TokenBucket,
    /// The average, [`AVERAGED`] times.
    missing: u32,
    /// First group datagrams in a row that nobody acknowledged.
    unheard: u32,
    shy_until: Option<Instant>,
    /// Casts in a row that came here first from somebody there who gave them to this node alone.
    alone: u32,
    late: Vec<Duration>,
    next: usize,
}

impl Segment {
    fn new(is_wireless: bool) -> Self {
        let (rate, burst) = if is_wireless { (WIRELESS_RATE, WIRELESS_BURST) } else { (WIRED_RATE, WIRED_BURST) };
        Self {
            proven: None,
            is_wireless,
            budget: TokenBucket::new(rate, burst),
            missing: 0,
            unheard: 0,
            shy_until: None,
            alone: 0,
            late: Vec::new(),
            next: 0,
        }
    }
}

impl Ways {
    /// How the segments can be reached now.
    pub(super) fn note(&mut self, reaches: &[Reach]) {
        let is_there = |index: &InterfaceIndex| reaches.iter().any(|reach| reach.on == *index);
        self.segments.retain(|index, _| is_there(index));
        self.answers.retain(|on, _| on.as_ref().is_none_or(is_there));
        for reach in reaches {
            let segment = self.segments.entry(reach.on).or_insert_with(|| Segment::new(reach.is_wireless));
            if segment.is_wireless != reach.is_wireless {
                *segment = Segment::new(reach.is_wireless);
            }
            segment.proven = reach.proven;
        }
    }

    /// The group by which so many bytes may go to a segment; they are charged.
    pub(super) fn group(&mut self, now: Instant, on: InterfaceIndex, bytes: usize) -> Option<Way> {
        let segment = self.segments.get_mut(&on)?;
        let way = segment.proven?;
        if segment.shy_until.is_some_and(|until| now < until) {
            return None;
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        segment.budget.take(now, bytes).then_some(way)
    }

    /// Of so many who were told at first, by the group or one by one, so many had not acknowledged when it was looked.
    pub(super) fn note_missing(
        &mut self,
        now: Instant,
        (on, by_group): (Option<InterfaceIndex>, bool),
        missing: usize,
        of: usize,
    ) {
        let segment = on.filter(|_| by_group).and_then(|on| self.segments.get_mut(&on));
        let Some(segment) = segment else { return self.note_patience(now, on, missing, of) };
        let sample = u32::try_from(missing.min(of) * 1_000 / of.max(1)).unwrap_or(1_000);
        segment.missing = segment.missing - segment.missing / AVERAGED + sample;
        segment.unheard = if missing < of { 0 } else { segment.unheard + 1 };
        if segment.unheard >= MOST_UNHEARD || segment.missing > MOST_MISSING * AVERAGED {
            // When it is tried again it has to be worse than a tie.
            (segment.shy_until, segment.missing) = (Some(now + SHY), MOST_MISSING * AVERAGED / 2);
            segment.unheard = 0;
        }
    }

    fn note_patience(&mut self, now: Instant, on: Option<InterfaceIndex>, missing: usize, of: usize) {
        let answering = self.answers.entry(on).or_default();
        let answered = of.saturating_sub(missing);
        if of >= JUDGED && answered * REACHED_OF < of {
            answering.patience = (answering.patience(now) + 1).min(MOST_PATIENCE);
            answering.doubled = now;
        } else if answered > 0 {
            answering.patience = 0;
        }
    }

    /// A member answered after so long what it was given for the first time.
    pub(super) fn note_answer(&mut self, on: Option<InterfaceIndex>, took: Duration) {
        let answering = self.answers.entry(on).or_default();
        answering.took = Some(answering.took.map_or((took, took / 2), |(smooth, variation)| {
            ((smooth * 7 + took) / 8, (variation * 3 + smooth.abs_diff(took)) / 4)
        }));
    }

    /// A neighbour answered, with all of it or a part, after so long what it was given for the first time.
    pub(super) fn note_latest(&mut self, now: Instant, who: NodeId, took: Duration) {
        self.latest.insert(who, (now, took));
    }

    /// How long an answer of a neighbour takes whose round trip was measured then: a probe that was answered after a pause says for
    /// a minute that all of them take so long, and answers since say that they do not.
    pub(super) fn round_trip(&self, who: &NodeId, (measured, rtt): (Option<Instant>, Duration)) -> Duration {
        let since = self.latest.get(who).filter(|(at, _)| measured.is_none_or(|measured| *at > measured));
        since.map_or(rtt, |(_, took)| rtt.min(*took))
    }

    /// How many of them are known.
    pub(super) fn len(&self) -> usize {
        self.latest.len()
    }

    /// By when nearly all answers are there, to what the group was told or each alone.
    pub(super) fn answer_after(
        &self,
        now: Instant,
        (on, by_group): (Option<InterfaceIndex>, bool),
    ) -> Option<Duration> {
        let answering = self.answers.get(&on)?;
        // One that was stopped answered after so long: that alone is no full way.
        let usual = answering.took.map_or(ANSWER_UNKNOWN, |(smooth, variation)| smooth + variation * 4).min(RTO_MOST);
        let times = if by_group { 1 } else { 1 << answering.patience(now) };
        Some((usual * times).min(ANSWER_MOST))
    }

    /// What goes on a way, and what it carries.
    pub(super) fn pace(&mut self, on: Option<InterfaceIndex>, by_group: bool) -> &mut Pace {
        let answering = self.answers.entry(on).or_default();
        if by_group { &mut answering.by_group } else { &mut answering.alone }
    }

    /// A cast that is new here came from somebody on a segment, to the group or to this node alone.
    pub(super) fn note_came(&mut self, on: InterfaceIndex, by_group: bool) {
        if let Some(segment) = self.segments.get_mut(&on) {
            segment.alone = if by_group { 0 } else { segment.alone.saturating_add(1) };
        }
    }

    /// Whether what is said to the group seems to reach nobody there, though it is proven and whoever gives nothing by it is acknowledged
    /// nothing: what is lost comes alone now and then, and not what came so many times in a row.
    pub(super) fn seems_dead(&self, on: InterfaceIndex) -> bool {
        self.segments.get(&on).is_some_and(|segment| segment.alone >= MOST_UNHEARD)
    }

    /// The forwarder of a segment was heard so late.
    pub(super) fn note_late(&mut self, on: InterfaceIndex, late: Duration) {
        let Some(segment) = self.segments.get_mut(&on) else { return };
        if segment.late.len() < SAMPLES {
            segment.late.push(late);
        } else {
            segment.late[segment.next] = late;
        }
        segment.next = (segment.next + 1) % SAMPLES;
    }

    /// How long a backup waits for the forwarder of a segment: twice as long as 95 of 100 need.
    pub(super) fn backup_after(&self, on: InterfaceIndex) -> Duration {
        let mut late: Vec<Duration> = self.segments.get(&on).map(|segment| segment.late.clone()).unwrap_or_default();
        late.sort_unstable_by(|a, b| b.cmp(a));
        let p95 = late.get(late.len() / 20).copied().unwrap_or_default();
        (p95 * 2).clamp(BACKUP_LEAST, BACKUP_MOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ON: InterfaceIndex = InterfaceIndex(1);

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    fn ways(proven: Option<Way>, is_wireless: bool) -> Ways {
        let mut ways = Ways::default();
        ways.note(&[Reach { on: ON, proven, is_wireless }]);
        ways
    }

    #[test]
    fn the_group_is_used_where_it_is_proven_and_within_its_budget() {
        let proven = Some(Way::Multicast4);
        assert_eq!(ways(None, false).group(at(0), ON, 1), None);
        for (is_wireless, burst) in [(true, WIRELESS_BURST), (false, WIRED_BURST)] {
            let mut ways = ways(proven, is_wireless);
            assert_eq!(ways.group(at(0), ON, burst as usize), proven);
            assert_eq!(ways.group(at(0), ON, 1), None, "spent");
            assert_eq!(ways.group(at(1_000), ON, 32 * 1_024), proven);
        }
        assert_eq!(ways(proven, false).group(at(0), InterfaceIndex(2), 1), None, "no such interface");
    }

    #[test]
    fn where_a_quarter_is_lost_members_are_told_one_by_one_for_half_a_minute() {
        // (members missing of a hundred after each first datagram, whether the group stays)
        for (missing, stays) in [(36, true), (43, true), (46, false)] {
            let mut ways = ways(Some(Way::Multicast4), false);
            for _ in 0..200 {
                ways.note_missing(at(0), (Some(ON), true), missing, 100);
            }
            assert_eq!(ways.group(at(1), ON, 1).is_some(), stays, "{missing}");
            assert_eq!(ways.group(at(30_000), ON, 1), Some(Way::Multicast4), "{missing}");
        }
    }

    #[test]
    fn where_nobody_acknowledges_the_group_is_given_up_at_the_third_time_in_a_row() {
        // (members missing of ten after each first datagram, whether the group stays)
        for (missing, stays) in [(&[10, 10][..], true), (&[10, 10, 9, 10, 10], true), (&[10, 10, 10], false)] {
            let mut ways = ways(Some(Way::Multicast4), false);
            missing.iter().for_each(|missing| ways.note_missing(at(0), (Some(ON), true), *missing, 10));
            assert_eq!(ways.group(at(1), ON, 1).is_some(), stays, "{missing:?}");
        }
    }

    #[test]
    fn answers_are_waited_for_as_long_as_nearly_all_take() {
        let mut ways = ways(Some(Way::Multicast4), false);
        assert_eq!(ways.answer_after(at(0), (Some(ON), true)), None);
        (0..50).for_each(|_| ways.note_answer(Some(ON), Duration::from_millis(8)));
        assert_eq!(ways.answer_after(at(0), (Some(ON), true)).map(|after| after.as_millis()), Some(8));
        ways.note_answer(Some(ON), Duration::from_millis(48));
        assert_eq!(
            ways.answer_after(at(0), (Some(ON), true)).map(|after| after.as_millis()),
            Some(53),
            "13 and four times 10"
        );
        ways.note(&[]);
        assert_eq!(ways.answer_after(at(0), (Some(ON), true)), None, "its interface is gone");
    }

    /// A piece was lost twice in a row, and given twice within five seconds: a probe had been answered after a pause of half a second.
    #[test]
    fn answers_since_a_round_trip_was_measured_say_how_long_they_take_now() {
        let (who, ms) = (NodeId([1; 16]), Duration::from_millis);
        let mut ways = ways(Some(Way::Multicast4), false);
        let round_trip = |ways: &Ways, measured| ways.round_trip(&who, (measured, ms(430))).as_millis();
        assert_eq!(round_trip(&ways, Some(at(5))), 430, "no answer yet");
        ways.note_latest(at(7), who, ms(2));
        for (measured, expected) in [(Some(at(6)), 2), (Some(at(7)), 430), (Some(at(8)), 430), (None, 2)] {
            assert_eq!(round_trip(&ways, measured), expected, "{measured:?}");
        }
        ways.note_latest(at(9), who, ms(900));
        assert_eq!(round_trip(&ways, Some(at(6))), 430, "it waited for others");
    }

    #[test]
    fn where_hardly_anybody_answers_in_time_it_is_waited_twice_as_long_each_time() {
        let mut ways = ways(Some(Way::Multicast4), false);
        let mut after = |missing, of| {
            ways.note_missing(at(0), (None, false), missing, of);
            ways.answer_after(at(0), (None, false)).map(|after| after.as_millis())
        };
        // (not there yet, of how many, how long it is waited then, in ms)
        for (missing, of, expected) in
            [(3, 3, 40), (4, 4, 80), (8, 10, 160), (1, 1, 160), (10, 10, 320), (7, 10, 40), (4, 4, 80), (0, 1, 40)]
        {
            assert_eq!(after(missing, of), Some(expected), "{missing} of {of}");
        }
        (0..9).for_each(|_| _ = after(4, 4));
        assert_eq!(after(4, 4), Some(2_000));
        assert_eq!(after(4, 5), Some(2_000), "a fifth");
        ways.note_answer(None, Duration::from_millis(300));
        ways.note_missing(at(0), (None, false), 3, 4);
        assert_eq!(
            ways.answer_after(at(0), (None, false)).map(|after| after.as_millis()),
            Some(400),
            "300 and four times 150, but no longer"
        );
    }

    /// What was said in a cut made the first cast minutes later wait for two seconds.
    #[test]
    fn that_hardly_anybody_answered_is_forgotten_after_ten_seconds() {
        let mut ways = ways(Some(Way::Multicast4), false);
        let mut after = |said: &[u64], ms| {
            said.iter().for_each(|ms| ways.note_missing(at(*ms), (None, false), 4, 4));
            ways.answer_after(at(ms), (None, false)).map(|after| after.as_millis())
        };
        assert_eq!(after(&[0, 1_000, 2_000, 3_000, 4_000, 5_000], 14_999), Some(2_000));
        assert_eq!(after(&[], 15_000), Some(40));
        assert_eq!(after(&[15_000], 15_000), Some(80), "it begins anew");
        assert_eq!(after(&[24_999], 34_998), Some(160), "each time counts");
    }

    #[test]
    fn a_group_seems_dead_once_three_casts_in_a_row_came_alone() {
        let mut ways = ways(Some(Way::Multicast4), false);
        for (by_group, seems_dead) in [
            (false, false),
            (false, false),
            (true, false),
            (false, false),
            (false, false),
            (false, true),
            (true, false),
        ] {
            ways.note_came(ON, by_group);
            ways.note_came(InterfaceIndex(9), false);
            assert_eq!(ways.seems_dead(ON), seems_dead);
        }
    }

    #[test]
    fn a_backup_waits_twice_as_long_as_most_need() {
        let mut ways = ways(Some(Way::Multicast4), false);
        assert_eq!(ways.backup_after(ON), Duration::from_millis(40));
        for late in (1..=64).rev() {
            ways.note_late(ON, Duration::from_millis(late));
        }
        assert_eq!(ways.backup_after(ON), Duration::from_millis(62), "31 of the latest 32");
        (0..2).for_each(|_| ways.note_late(ON, Duration::from_secs(9)));
        assert_eq!(ways.backup_after(ON), Duration::from_millis(500));
    }
}
