//! Decides whether the letters of a run kept their promises: given once and as they were written, settled once and in time,
//! settled truly, and not lost where a sound way led.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use kodikon_core::effect::SendOrder;
use kodikon_core::ground::id::{Epoch, NodeId};
use kodikon_core::model::letter::{Outcome, Priority, Ticket};

use crate::checks::{Check, Watch};
use crate::metrics::millis;
use crate::moment::Moment;
use crate::trace::digest;
use crate::workload::letters::number_of;

/// What a settlement may take beyond its deadline.
const MARGIN: Duration = Duration::from_secs(1);
/// Whoever has more open letters to one destination may let some wait, and begin them when it is in another run.
const BACKLOG: usize = 64;
/// A letter that may take less than this is not promised to arrive: the least default of those that may not be lost.
const PATIENCE: Duration = Duration::from_secs(5);
/// Relays that a way may have more than the one with the fewest, where there is more than one way.
pub(super) const DETOUR: u32 = 2;
/// Names of round trips by links; a way has at most 16.
const RTT: [&str; 17] = [
    "letter_rtt_0_ms",
    "letter_rtt_1_ms",
    "letter_rtt_2_ms",
    "letter_rtt_3_ms",
    "letter_rtt_4_ms",
    "letter_rtt_5_ms",
    "letter_rtt_6_ms",
    "letter_rtt_7_ms",
    "letter_rtt_8_ms",
    "letter_rtt_9_ms",
    "letter_rtt_10_ms",
    "letter_rtt_11_ms",
    "letter_rtt_12_ms",
    "letter_rtt_13_ms",
    "letter_rtt_14_ms",
    "letter_rtt_15_ms",
    "letter_rtt_16_ms",
];

/// All letters of a run.
#[derive(Debug)]
pub struct Letters {
    /// Relays on the way of a letter at most.
    pub max_hops: u8,
    /// Whether everybody can know everybody: otherwise nobody is promised that a letter arrives.
    pub all_fit: bool,
    all: BTreeMap<Ticket, Letter>,
    due: BTreeSet<(Moment, Ticket)>,
    writers: Vec<Writer>,
}

/// One node's process as it writes.
#[derive(Debug, Default, Clone)]
struct Writer {
    run: u32,
    open: BTreeSet<Ticket>,
    stopped: Duration,
    stopped_since: Option<Moment>,
    /// When it was stopped before, and until when.
    stops: Vec<[Moment; 2]>,
}

impl Writer {
    /// How long it was stopped so far.
    fn stopped(&self, now: Moment) -> Duration {
        self.stopped + self.stopped_since.map_or(Duration::ZERO, |since| now.since(since))
    }

    /// When it was stopped, and until when, as far as that was after a moment.
    fn stops_after(&self, from: Moment, now: Moment) -> impl Iterator<Item = [Moment; 2]> {
        let open = self.stopped_since.map(|since| [since, now]);
        let all = self.stops.iter().rev().take_while(move |[_, until]| *until > from).copied().chain(open);
        all.map(move |[since, until]| [since.max(from), until])
    }
}

/// Who says or hears something: a node in one run of its identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Party {
    pub(super) node: usize,
    pub(super) id: NodeId,
    pub(super) epoch: Epoch,
}

#[derive(Debug)]
struct Letter {
    by: Party,
    /// The process that wrote it.
    run: u32,
    to: NodeId,
    /// Who bore that identity when it was written, if one did.
    bearer: Option<Party>,
    /// The run of the destination for which it was surely begun.
    begun_for: Option<Epoch>,
    at: Moment,
    /// How long its writer's process had been stopped by then.
    stopped: Duration,
    timeout: Duration,
    priority: Priority,
    text: u64,
    given: Option<usize>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not settled yet.
    Open,
    /// Not settled in time, which was said.
    Late,
    /// Settled.
    Settled,
}

/// What a node hands to its application.
#[derive(Debug)]
pub(super) struct Given<'a> {
    pub(super) from: NodeId,
    pub(super) kind: &'a str,
    pub(super) payload: &'a [u8],
    pub(super) priority: Priority,
    pub(super) path: &'a [NodeId],
}

impl Letters {
    /// No letters yet, of so many nodes.
    #[must_use]
    pub fn new(nodes: usize) -> Self {
        let writers = vec![Writer::default(); nodes];
        Self { max_hops: 5, all_fit: true, all: BTreeMap::new(), due: BTreeSet::new(), writers }
    }

    /// A process began.
    pub(super) fn booted(&mut self, node: usize) {
        self.writers[node] = Writer { run: self.writers[node].run + 1, ..Writer::default() };
    }

    /// A process was stopped, or goes on.
    pub(super) fn stopped(&mut self, now: Moment, node: usize, stopped: bool) {
        let writer = &mut self.writers[node];
        if stopped {
            writer.stopped_since.get_or_insert(now);
        } else {
            writer.stopped = writer.stopped(now);
            writer.stops.extend(writer.stopped_since.take().map(|since| [since, now]));
        }
    }

    /// For how long one of these nodes' processes at least was stopped since a moment.
    fn interrupted(&self, nodes: impl Iterator<Item = usize>, from: Moment, now: Moment) -> Duration {
        let mut stops: Vec<[Moment; 2]> = nodes.flat_map(|node| self.writers[node].stops_after(from, now)).collect();
        stops.sort_unstable();
        let (mut sum, mut end) = (Duration::ZERO, from);
        for [since, until] in stops {
            sum += until.since(since.max(end));
            end = end.max(until);
        }
        sum
    }

    /// How long a node's process was stopped so far.
    pub(super) fn stopped_for(&self, now: Moment, node: usize) -> Duration {
        self.writers[node].stopped(now)
    }

    /// A process ended, or said goodbye: it owes nobody anything any more.
    pub(super) fn released(&mut self, node: usize) {
        self.writers[node].open.clear();
    }

    /// Time since a letter was written in which its writer could have done something.
    fn age(&self, now: Moment, letter: &Letter) -> Duration {
        let stopped = self.stopped_for(now, letter.by.node).saturating_sub(letter.stopped);
        now.since(letter.at).saturating_sub(stopped)
    }
}

impl Watch {
    /// A node's application says something.
    pub(super) fn write(&mut self, now: Moment, node: usize, order: &SendOrder) {
        let SendOrder { ticket, to, kind, payload, priority, timeout } = order;
        let (by, bearer) = (self.party(node), self.truth.holder(to).map(|bearer| self.party(bearer)));
        let timeout = timeout.unwrap_or(priority.deadline());
        let letter = Letter {
            by,
            run: self.letters.writers[node].run,
            to: *to,
            bearer,
            begun_for: self.begun_for(now, node, (to, bearer)),
            at: now,
            stopped: self.letters.stopped_for(now, node),
            timeout,
            priority: *priority,
            text: digest_of(kind, payload),
            given: None,
            state: State::Open,
        };
        self.metrics.count("letters_sent");
        self.letters.due.insert((now + timeout + MARGIN, *ticket));
        self.letters.writers[node].open.insert(*ticket);
        self.queues.written(now, (node, *to), *priority);
        let before = self.letters.all.insert(*ticket, letter);
        assert!(before.is_none(), "no two letters of a run have one number");
    }

    pub(super) fn party(&self, node: usize) -> Party {
        let living = &self.truth.nodes[node];
        Party { node, id: living.id, epoch: living.epoch }
    }

    /// The run for which a letter is surely begun at once: the one that its writer shows, if a sound way leads there.
    fn begun_for(&self, now: Moment, node: usize, (to, bearer): (&NodeId, Option<Party>)) -> Option<Epoch> {
        let shown = self.views[node].row(to).filter(|row| row.standing.is_present())?.epoch;
        let bearer = bearer.filter(|bearer| bearer.epoch == shown)?;
        let is_to = |ticket: &&Ticket| self.letters.all.get(ticket).is_some_and(|letter| letter.to == *to);
        let backlog = self.letters.writers[node].open.iter().filter(is_to).count();
        let is_linked = backlog < BACKLOG && self.truth.steady_links(now, &[node]).contains_key(&bearer.node);
        is_linked.then_some(shown)
    }

    /// A node hands its application something that another said.
    pub(super) fn give(&mut self, now: Moment, node: usize, given: &Given<'_>) {
        if self.truth.is_hostile(&given.from) {
            return;
        }
        let receiver = self.party(node);
        let number = number_of(given.payload).map(Ticket);
        let Some(letter) = number.and_then(|number| self.letters.all.get_mut(&number)) else {
            self.tally.check(now, Check::LetterTrue, false, || {
                format!("node {node} is given {} B of {:?}, which nobody wrote", given.payload.len(), given.from)
            });
            return;
        };
        let is_true = letter.text == digest_of(given.kind, given.payload)
            && (letter.by.id, letter.to, letter.priority) == (given.from, receiver.id, given.priority);
        self.tally.check(now, Check::LetterTrue, is_true, || {
            let (from, priority) = (given.from, given.priority);
            format!("node {node} is given {number:?} of {from:?}, {priority:?}, and not as {letter:?}")
        });
        let before = letter.given.replace(node);
        self.tally.check(now, Check::LetterOnce, before.is_none(), || {
            format!("node {node} is given {number:?} of node {}, as node {before:?} was", letter.by.node)
        });
        let begun_for = letter.begun_for.unwrap_or(receiver.epoch);
        self.tally.check(now, Check::LetterOnce, begun_for == receiver.epoch, || {
            format!("node {node} is given {number:?} in {:?}, and it was meant for {begun_for:?}", receiver.epoch)
        });
        let (by, written) = (letter.by.node, letter.at);
        self.queues.given(now, (by, receiver.id), given.priority);
        if let Some(number) = number.filter(|_| given.priority == Priority::Critical) {
            self.check_urgent(now, number);
        }
        self.check_hops(now, number, given.path.len());
        self.follow(now, [by, node], written, given.path);
    }

    /// Notes by which way a letter came.
    fn follow(&mut self, now: Moment, [from, to]: [usize; 2], written: Moment, path: &[NodeId]) {
        let relays: Option<Vec<usize>> = path.iter().map(|id| self.truth.holder(id)).collect();
        let Some(relays) = relays else { return };
        let way: Vec<usize> = [from].into_iter().chain(relays).chain([to]).collect();
        if let Some(since) = self.detours.came(now, way, written, &self.truth.places) {
            self.metrics.sample("reroute_ms", millis(now, since));
        }
    }

    fn check_hops(&mut self, now: Moment, number: Option<Ticket>, relays: usize) {
        let most = self.letters.max_hops;
        self.tally.check(now, Check::LetterOutcome, relays <= usize::from(most), || {
            format!("{number:?} came by {relays} relays, of {most} allowed")
        });
    }

    /// A node tells what became of something that its application said.
    pub(super) fn settle(&mut self, now: Moment, node: usize, (ticket, to): (Ticket, NodeId), outcome: &Outcome) {
        let run = self.letters.writers[node].run;
        let is_its = |letter: &&Letter| (letter.by.node, letter.run, letter.to) == (node, run, to);
        let Some(letter) = self.letters.all.get(&ticket).filter(is_its) else {
            self.tally.check(now, Check::LetterSettled, false, || {
                format!("node {node} settles {ticket:?} to {to:?}, which this run of it did not write: {outcome:?}")
            });
            return;
        };
        let (age, timeout, state) = (self.letters.age(now, letter), letter.timeout, letter.state);
        // Who is late was told of when it was due.
        let is_well = state == State::Late || state == State::Open && age <= timeout + MARGIN;
        self.tally.check(now, Check::LetterSettled, is_well, || {
            format!("node {node} settles {ticket:?} of {timeout:?} after {age:?}, {state:?} before: {outcome:?}")
        });
        if state != State::Settled {
            self.check_outcome(now, ticket, outcome);
            let is_self = self.letters.all[&ticket].by.id == to;
            self.measure(is_self, outcome);
        }
        if self.letters.writers[node].open.remove(&ticket) {
            self.queues.settled((node, to), self.letters.all[&ticket].priority);
        }
        if let Some(letter) = self.letters.all.get_mut(&ticket) {
            letter.state = State::Settled;
        }
    }

    fn check_outcome(&mut self, now: Moment, ticket: Ticket, outcome: &Outcome) {
        let letter = &self.letters.all[&ticket];
        let is_due = self.is_due(letter);
        let words = || {
            let Letter { by, to, at, priority, .. } = letter;
            format!("{ticket:?} of node {} to {to:?}, {priority:?}, written at {at}: {outcome:?}", by.node)
        };
        let is_right = match outcome {
            Outcome::Delivered { .. } => letter.given.is_some(),
            Outcome::Unreachable { needs_hops } => {
                !is_due && needs_hops.is_none_or(|hops| hops > self.letters.max_hops)
            }
            Outcome::Expired { .. } => true,
        };
        self.tally.check(now, Check::LetterOutcome, is_right, words);
        let is_delivered = matches!(outcome, Outcome::Delivered { .. });
        if is_due
            && letter.timeout >= PATIENCE
            && letter.priority != Priority::Low
            && (is_delivered || self.was_open(now, letter))
        {
            self.tally.check(now, Check::LetterReliable, is_delivered, words);
        }
        if let Outcome::Delivered { path, .. } = outcome {
            self.check_hops(now, Some(ticket), path.len().saturating_sub(1));
        }
    }

    /// Whether writer and destination were joined by sound nodes and links, and few enough, from long before a letter was
    /// written until now.
    fn is_due(&self, letter: &Letter) -> bool {
        let Some(bearer) = letter.bearer.filter(|bearer| *bearer != letter.by && self.letters.all_fit) else {
            return false;
        };
        // Whoever passes nothing on fills its own queues with it.
        if [letter.by.node, bearer.node].iter().any(|node| self.truth.is_swallower(*node)) {
            return false;
        }
        // Asked for the moment at which it was written, of what is known now: troubles of later than that count too.
        let links = self.truth.carrying_links(letter.at, &[letter.by.node]).get(&bearer.node).copied();
        let slack = if self.truth.places.is_tree() { 0 } else { DETOUR };
        let is_near = links.is_some_and(|links| links + slack <= u32::from(self.letters.max_hops) + 1);
        is_near && self.lasts(letter.by, letter.at) && self.lasts(bearer, letter.at)
    }

    /// Whether the only way of a letter, where there is but one, was open for most of its time: a healthy node may stand still for a
    /// second, and where those of a line do so in turn, nothing gets through.
    fn was_open(&self, now: Moment, letter: &Letter) -> bool {
        let Some(bearer) = letter.bearer.filter(|_| self.truth.places.is_tree()) else { return true };
        let [near, far] = [letter.by.node, bearer.node].map(|node| self.truth.carrying_links(letter.at, &[node]));
        let Some(all) = near.get(&bearer.node) else { return true };
        let way = near.iter().filter(|(node, links)| far.get(node).is_some_and(|rest| *links + rest == *all));
        let closed = self.letters.interrupted(way.map(|(node, _)| *node), letter.at, now);
        // Of no time at all half is none: whoever gives a letter up at once has no such excuse.
        closed.is_zero() || closed * 2 < now.since(letter.at)
    }

    /// Whether somebody lives since long before this moment, and still does.
    pub(super) fn lasts(&self, party: Party, at: Moment) -> bool {
        self.truth.holder(&party.id) == Some(party.node)
            && self.party(party.node) == party
            && super::recovered(at, self.truth.nodes[party.node].since)
    }

    /// Of those who lived when something was said to all those who could have it: they live since long and still do, and were joined with
    /// whoever said it by sound nodes and links, few enough.
    pub(super) fn sound_bearers(
        &self,
        (by, at): (Party, Moment),
        bearers: &[Party],
        is_near: impl Fn(u32) -> bool,
    ) -> impl Iterator<Item = Party> {
        let links = self.truth.carrying_links(at, &[by.node]);
        let is_due = move |bearer: &&Party| {
            **bearer != by
                && links.get(&bearer.node).is_some_and(|links| is_near(*links))
                && self.lasts(**bearer, at)
                && !self.truth.is_hostile(&bearer.id)
        };
        bearers.iter().filter(is_due).copied()
    }

    /// Whether a critical letter that is given now came in its time.
    fn check_urgent(&mut self, now: Moment, ticket: Ticket) {
        let letter = &self.letters.all[&ticket];
        let age = self.letters.age(now, letter);
        self.metrics.sample("critical_ms", age.as_secs_f64() * 1e3);
        if let Some(within) = self.queues.urgent_within().filter(|_| self.is_due(letter)) {
            let by = letter.by.node;
            self.tally.check(now, Check::LetterUrgent, age <= within, || {
                format!("{ticket:?} of node {by} is critical and took {age:?}")
            });
        }
    }

    fn measure(&mut self, is_self: bool, outcome: &Outcome) {
        match outcome {
            Outcome::Delivered { rtt, path, attempts } => {
                self.metrics.count("letters_delivered");
                self.metrics.sample("letter_attempts", f64::from(*attempts));
                let name = RTT[if is_self { 0 } else { path.len().min(RTT.len() - 1) }];
                self.metrics.sample(name, millis(Moment::START + *rtt, Moment::START));
            }
            Outcome::Expired { .. } => self.metrics.count("letters_expired"),
            Outcome::Unreachable { .. } => self.metrics.count("letters_unreachable"),
        }
    }

    /// Looks for letters that should have been settled by now.
    pub(super) fn check_overdue(&mut self, now: Moment) {
        while let Some(&(at, ticket)) = self.letters.due.first().filter(|(at, _)| *at <= now) {
            self.letters.due.remove(&(at, ticket));
            let letter = &self.letters.all[&ticket];
            let (by, run, timeout) = (letter.by.node, letter.run, letter.timeout);
            let writer = &self.letters.writers[by];
            let is_open = writer.run == run && writer.open.contains(&ticket);
            let age = self.letters.age(now, letter);
            if is_open && age <= timeout + MARGIN {
                // Its writer was stopped meanwhile.
                let rest = (timeout + MARGIN).saturating_sub(age).max(MARGIN);
                self.letters.due.insert((now + rest, ticket));
                continue;
            }
            self.tally.check(now, Check::LetterSettled, !is_open, || {
                format!("node {by} has not settled {ticket:?} of {timeout:?} after {age:?}")
            });
            if let Some(letter) = self.letters.all.get_mut(&ticket).filter(|_| is_open) {
                letter.state = State::Late;
            }
        }
    }
}

/// A digest of what is said.
pub(super) fn digest_of(kind: &str, payload: &[u8]) -> u64 {
    digest(kind.as_bytes()).rotate_left(19) ^ digest(payload)
}

#[cfg(test)]
mod tests;
