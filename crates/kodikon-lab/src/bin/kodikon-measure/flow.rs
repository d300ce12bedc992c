//! Decides how a flow of numbered messages runs between two hosts, and what of it counts as a silence and as a return.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use kodikon_lab::{Elapsed, Fleet, Host, Kind, Lab, Line, Moment, Process};
use serde_json::Value;

/// Time between two messages: the pace at which the laboratory's tests try a mesh.
pub(crate) const PACE: Duration = Duration::from_millis(10);
/// As long as this a flow must keep its pace on a link to count as running there.
const STEADY: Duration = Duration::from_secs(1);
/// The stretch over which the pace is judged, and how many of its ten messages must pass: one may come late.
const STRETCH: Duration = Duration::from_millis(100);
const PER_STRETCH: u64 = 8;
/// More than any flow under way makes in the time of a mesh: the series is ended by its reader.
const ENDLESS: &str = "1000000";
/// How long a message may be under way: longer than any silence that a mesh may make.
const MESSAGE_LIMIT_S: &str = "30";

/// Something that carries a message from a host to another each [`PACE`].
pub(crate) trait Flow {
    /// Lets time pass.
    fn listen(&mut self, time: Duration) -> Result<()>;
    /// What arrived from then on, in order.
    fn arrivals(&self, since: Instant) -> Vec<Moment>;
    /// Ends it: how many messages were given up, and how many were told twice, where it promises anything.
    fn end(self: Box<Self>) -> Result<Option<Faults>>;
}

/// Broken promises of a flow.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) sent: u64,
    pub(crate) undelivered: u64,
    pub(crate) twice: u64,
}

/// What a `send` has told so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcomes(Arc<Mutex<Vec<Value>>>);

impl Outcomes {
    /// Starts a series and gathers what becomes of it.
    pub(crate) fn of(
        lab: &Lab,
        fleet: &Fleet<'_>,
        (from, to): (&str, &str),
        options: &[&str],
    ) -> Result<(Self, Process)> {
        let outcomes = Self::default();
        let mut command = fleet.ctl_command(from, ["send", to, "{}", "--json"].iter().chain(options))?;
        let told = outcomes.clone();
        let sink = move |line: Line| told.rows().push(serde_json::from_str(&line.text).unwrap_or(Value::Null));
        let process = lab.spawn_into(&mut command, sink)?;
        Ok((outcomes, process))
    }

    pub(crate) fn rows(&self) -> MutexGuard<'_, Vec<Value>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The round trips of those that were delivered.
    pub(crate) fn round_trips_ms(&self) -> Vec<f64> {
        self.rows().iter().filter(|row| is_delivered(row)).filter_map(|row| row["rtt_ms"].as_f64()).collect()
    }

    /// How many have another end.
    pub(crate) fn undelivered(&self) -> usize {
        self.rows().iter().filter(|row| !is_delivered(row)).count()
    }
}

fn is_delivered(row: &Value) -> bool {
    row["outcome"] == "delivered"
}

/// A flow of reliable messages in a mesh.
pub(crate) struct Letters<'lab> {
    fleet: Fleet<'lab>,
    to: String,
    outcomes: Outcomes,
    series: Process,
    since: Instant,
}

impl<'lab> Letters<'lab> {
    pub(crate) fn start(lab: &Lab, fleet: Fleet<'lab>, from: Host, to: Host) -> Result<Self> {
        let (from, to) = (from.to_string(), to.to_string());
        let since = Instant::now();
        let pace = PACE.as_millis().to_string();
        let options = ["--timeout", MESSAGE_LIMIT_S, "--repeat", ENDLESS, "--interval-ms", &pace];
        let (outcomes, series) = Outcomes::of(lab, &fleet, (&from, &to), &options)?;
        Ok(Self { fleet, to, outcomes, series, since })
    }
}

impl Flow for Letters<'_> {
    fn listen(&mut self, time: Duration) -> Result<()> {
        if let Some(status) = self.series.status()? {
            bail!("the series has ended ({status}): {}", self.series.complaints());
        }
        self.fleet.listen(time)
    }

    fn arrivals(&self, since: Instant) -> Vec<Moment> {
        let since = Moment { read: since, told: None };
        let messages = self.fleet.story().since(since).filter(|seen| seen.event.kind == Kind::Message);
        messages.filter(|seen| seen.by == self.to).map(|seen| seen.moment).collect()
    }

    fn end(mut self: Box<Self>) -> Result<Option<Faults>> {
        // What is under way then is not counted, either way.
        self.series.kill()?;
        self.fleet.listen(STEADY)?;
        let mut numbers = BTreeSet::new();
        let mut twice = 0;
        let since = Moment { read: self.since, told: None };
        for seen in
            self.fleet.story().since(since).filter(|seen| seen.by == self.to && seen.event.kind == Kind::Message)
        {
            let number = seen.event.fields["payload"]["n"].as_u64().context("a message without its number")?;
            twice += u64::from(!numbers.insert(number));
        }
        ensure!(self.fleet.story().unkept() == 0, "more was told than is kept");
        let sent = self.outcomes.rows().len() as u64;
        let undelivered = self.outcomes.undelivered() as u64;
        self.fleet.kill_all()?;
        Ok(Some(Faults { sent, undelivered, twice }))
    }
}

/// The longest time without an arrival, from the last arrival before the cut on. The arrivals are in order and begin
/// before the cut.
pub(crate) fn silence(arrivals: &[Moment], cut: Instant) -> Option<Elapsed> {
    let pairs = arrivals.windows(2).filter_map(|pair| match pair {
        [one, next] if next.read >= cut => Some(next.since(*one)),
        _ => None,
    });
    pairs.max_by_key(Elapsed::longer)
}

/// Waits until nothing has been missing for a while at the end of at least `least`; the longest silence since the cut.
pub(crate) fn outlast(flow: &mut dyn Flow, cut: Instant, least: Duration, limit: Duration) -> Result<Elapsed> {
    flow.listen(least.saturating_sub(cut.elapsed()))?;
    loop {
        let now = Instant::now();
        // One before the cut at least: an idle second before it would be none of the cut's.
        let arrivals = flow.arrivals(cut - STEADY);
        let recent = arrivals.iter().filter(|arrival| now.saturating_duration_since(arrival.read) < STEADY).count();
        let is_steady = recent as u128 * 10 >= (STEADY.as_millis() / PACE.as_millis()) * 9;
        if is_steady && let Some(silence) = silence(&arrivals, cut) {
            return Ok(silence);
        }
        ensure!(cut.elapsed() < limit, "the flow did not come back within {limit:?}");
        flow.listen(STRETCH)?;
    }
}

/// A cable to a host, on which a flow is awaited.
#[derive(Clone, Copy)]
pub(crate) struct Cable<'a> {
    pub(crate) segment: &'a str,
    pub(crate) host: Host,
}

/// Waits until the flow has run over a cable for a while, and says since when.
pub(crate) fn await_on_cable(lab: &Lab, flow: &mut dyn Flow, cable: Cable<'_>, limit: Duration) -> Result<Instant> {
    let start = Instant::now();
    let mut pace = Steadiness::default();
    loop {
        let traffic = lab.traffic(cable.segment)?;
        let seen = traffic.get(&cable.host).context("no such cable")?.received_packets;
        if let Some(since) = pace.note(Instant::now(), seen) {
            return Ok(since);
        }
        ensure!(start.elapsed() < limit, "the flow was not on {} within {limit:?}", cable.segment);
        flow.listen(PACE)?;
    }
}

/// Since when a counter has grown at the pace of a flow.
#[derive(Default)]
struct Steadiness {
    /// The samples of the last stretch, and the one before it.
    samples: VecDeque<(Instant, u64)>,
    since: Option<Instant>,
}

impl Steadiness {
    /// Takes a sample; since when, once it has been so for [`STEADY`].
    fn note(&mut self, now: Instant, count: u64) -> Option<Instant> {
        self.samples.push_back((now, count));
        while self.samples.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= STRETCH) {
            self.samples.pop_front();
        }
        let (at, before) = *self.samples.front()?;
        if now.saturating_duration_since(at) < STRETCH {
            return None;
        }
        if count.saturating_sub(before) < PER_STRETCH {
            self.since = None;
            return None;
        }
        let since = *self.since.get_or_insert(at);
        (now.saturating_duration_since(since) >= STEADY).then_some(since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(start: Instant, at_ms: &[u64]) -> Vec<Moment> {
        at_ms.iter().map(|ms| Moment { read: start + Duration::from_millis(*ms), told: None }).collect()
    }

    #[test]
    fn a_silence_begins_with_the_last_arrival_before_the_cut_and_the_longest_counts() {
        let start = Instant::now();
        let cut = start + Duration::from_millis(95);
        let table: [(&[u64], Option<u64>); 5] = [
            (&[0, 60, 90, 130, 140], Some(40)),
            (&[90, 130, 140, 200], Some(60)),
            (&[0, 90], None),
            (&[0, 94, 95], Some(1)),
            (&[], None),
        ];
        for (at, expected) in table {
            let found = silence(&moments(start, at), cut).map(|elapsed| elapsed.read.as_millis() as u64);
            assert_eq!(found, expected, "{at:?}");
        }
    }

    #[test]
    fn a_flow_is_back_when_it_has_kept_its_pace_for_a_second() {
        let start = Instant::now();
        let mut pace = Steadiness::default();
        // Ten packets a stretch from 300 ms on; before that one, and a burst of seven that is none.
        let count = |ms: u64| if ms < 300 { ms / 100 + 7 * u64::from(ms >= 150) } else { 9 + (ms - 300) / 10 };
        let found = (0..2_000).step_by(10).find_map(|ms| {
            let at = start + Duration::from_millis(ms);
            Some((ms, pace.note(at, count(ms))?))
        });
        let (told, since) = found.unwrap();
        let since = (since - start).as_millis();
        assert!((270..=300).contains(&since), "since {since} ms");
        assert!((1_270..=1_300).contains(&told), "told at {told} ms");
    }
}
