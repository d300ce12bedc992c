//! Decides what a fleet's events add up to: who runs, who knows whom, and who learned what when.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::event::{Event, Kind, Moment};

/// Events beyond this many are counted and not kept: fifty nodes make some ten thousand in a test.
const SEEN_LIMIT: usize = 500_000;
/// Lines that are no events, kept to be shown.
const ODD_LIMIT: usize = 20;
/// How many rows a summary shows of anything.
const SHOWN: usize = 12;

/// An event and who told it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The name of the node that told it.
    pub by: String,
    /// Which start of this node it was, from 1.
    pub run: u32,
    /// When.
    pub moment: Moment,
    /// What.
    pub event: Event,
}

/// Everything a fleet has told so far, and what follows from it.
#[derive(Debug, Default)]
pub struct Story {
    seen: Vec<Seen>,
    unkept: u64,
    odd: Vec<String>,
    nodes: BTreeMap<String, Told>,
}

/// What is known of one node.
#[derive(Debug, Default)]
struct Told {
    run: u32,
    running: bool,
    started: Option<Moment>,
    /// The last that this run said of each peer.
    peers: BTreeMap<String, Kind>,
    /// When this run first said that a peer is up.
    first_up: BTreeMap<String, Moment>,
}

impl Story {
    /// A node is about to start; returns the number of this run.
    pub(crate) fn begin(&mut self, name: &str) -> u32 {
        let told = self.nodes.entry(name.to_owned()).or_default();
        *told = Told { run: told.run + 1, running: true, ..Told::default() };
        told.run
    }

    /// A node was ended.
    pub(crate) fn end(&mut self, name: &str) {
        if let Some(told) = self.nodes.get_mut(name) {
            told.running = false;
        }
    }

    /// A node has told something.
    pub(crate) fn add(&mut self, seen: Seen) {
        if let Some(told) = self.nodes.get_mut(&seen.by)
            && told.run == seen.run
        {
            told.learn(&seen);
        }
        if self.seen.len() < SEEN_LIMIT {
            self.seen.push(seen);
        } else {
            self.unkept += 1;
        }
    }

    /// A node has printed a line that is no event.
    pub(crate) fn add_odd(&mut self, line: String) {
        if self.odd.len() < ODD_LIMIT {
            self.odd.push(line);
        }
    }

    /// All events, in the order of their arrival here.
    pub fn seen(&self) -> &[Seen] {
        &self.seen
    }

    /// Lines that were no events, the first few of them.
    pub fn odd(&self) -> &[String] {
        &self.odd
    }

    /// How many events were not kept because they were too many.
    pub fn unkept(&self) -> u64 {
        self.unkept
    }

    /// The names of the nodes that run.
    pub fn running(&self) -> impl Iterator<Item = &str> {
        self.nodes.iter().filter(|(_, told)| told.running).map(|(name, _)| name.as_str())
    }

    /// Whether a node runs and has said so.
    pub fn has_started(&self, name: &str) -> bool {
        self.nodes.get(name).is_some_and(|told| told.running && told.started.is_some())
    }

    /// Whether all that run have said so.
    pub fn all_started(&self) -> bool {
        self.nodes.values().all(|told| !told.running || told.started.is_some())
    }

    /// What a node said last about a peer.
    pub fn opinion(&self, by: &str, about: &str) -> Option<&Kind> {
        self.nodes.get(by)?.peers.get(about)
    }

    /// Whether every running node says that every other is up.
    pub fn full_roster(&self) -> bool {
        self.all_started() && self.lacking().next().is_none()
    }

    /// The last `started` of the nodes that run.
    pub fn last_started(&self) -> Option<Moment> {
        self.starts().reduce(Moment::latest)
    }

    /// The `started` of each node that runs and has said so.
    pub fn starts(&self) -> impl Iterator<Item = Moment> {
        self.nodes.values().filter(|told| told.running).filter_map(|told| told.started)
    }

    /// When the last running node first said that the last other is up; `None` before [`Story::full_roster`].
    pub fn roster_complete(&self) -> Option<Moment> {
        if !self.full_roster() {
            return None;
        }
        let first_ups = self
            .nodes
            .values()
            .filter(|told| told.running)
            .flat_map(|told| told.first_up.iter().filter(|(about, _)| self.runs(about)).map(|(_, moment)| *moment));
        first_ups.reduce(Moment::latest)
    }

    /// The first event of a kind about a peer that each running node but the peer told since a moment.
    pub fn first_about<'s>(&'s self, kind: &Kind, about: &str, since: Moment) -> BTreeMap<&'s str, &'s Seen> {
        let mut found = BTreeMap::new();
        for seen in self.since(since) {
            let wanted = seen.event.kind == *kind && seen.event.about.as_deref() == Some(about);
            if wanted && seen.by != about && self.runs(&seen.by) {
                found.entry(seen.by.as_str()).or_insert(seen);
            }
        }
        found
    }

    /// Events read since a moment.
    pub fn since(&self, moment: Moment) -> impl Iterator<Item = &Seen> {
        self.seen.iter().filter(move |seen| seen.moment.read >= moment.read)
    }

    /// How many events of a kind were read since a moment.
    pub fn count(&self, kind: &Kind, since: Moment) -> usize {
        self.since(since).filter(|seen| seen.event.kind == *kind).count()
    }

    /// What a person needs to know when something awaited did not come.
    pub fn summary(&self) -> String {
        let mut text = String::new();
        self.summarise(&mut text).expect("a String takes all that is written");
        text
    }

    fn summarise(&self, text: &mut String) -> std::fmt::Result {
        let silent: Vec<&str> = self.running().filter(|name| !self.has_started(name)).collect();
        if !silent.is_empty() {
            writeln!(text, "not started: {}", silent.join(" "))?;
        }
        let mut lacking: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (by, about) in self.lacking() {
            let opinion = self.opinion(by, about).map_or(String::new(), |kind| format!(" ({kind})"));
            lacking.entry(by).or_default().push(format!("{about}{opinion}"));
        }
        for (by, peers) in lacking.iter().take(SHOWN) {
            writeln!(text, "{by} lacks {}", peers.join(" "))?;
        }
        if lacking.len() > SHOWN {
            writeln!(text, "… and {} more nodes lack some", lacking.len() - SHOWN)?;
        }
        for line in &self.odd {
            writeln!(text, "no event: {line}")?;
        }
        if self.unkept > 0 {
            writeln!(text, "{} events beyond {SEEN_LIMIT} were not kept", self.unkept)?;
        }
        writeln!(text, "{} events, the last:", self.seen.len())?;
        for seen in self.seen.iter().rev().take(SHOWN).rev() {
            let about = seen.event.about.as_deref().unwrap_or("-");
            let ago = seen.moment.read.elapsed().as_secs_f64();
            writeln!(text, "  {ago:.3} s ago {} told {} {about}", seen.by, seen.event.kind)?;
        }
        Ok(())
    }

    /// Pairs of running nodes of which the first does not say that the second is up.
    fn lacking(&self) -> impl Iterator<Item = (&str, &str)> {
        let names: BTreeSet<&str> = self.running().collect();
        let running = self.nodes.iter().filter(|(_, told)| told.running);
        running.flat_map(move |(by, told)| {
            let others: Vec<&str> = names.iter().copied().filter(|name| name != by).collect();
            let lacking = others.into_iter().filter(|about| told.peers.get(*about) != Some(&Kind::PeerUp));
            lacking.map(move |about| (by.as_str(), about))
        })
    }

    fn runs(&self, name: &str) -> bool {
        self.nodes.get(name).is_some_and(|told| told.running)
    }
}

impl Told {
    fn learn(&mut self, seen: &Seen) {
        if seen.event.kind == Kind::Started {
            self.started.get_or_insert(seen.moment);
        }
        let Some(about) = &seen.event.about else { return };
        if !seen.event.kind.is_liveness() || *about == seen.by {
            return;
        }
        self.peers.insert(about.clone(), seen.event.kind.clone());
        if seen.event.kind == Kind::PeerUp {
            self.first_up.entry(about.clone()).or_insert(seen.moment);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_roster_is_full_when_all_that_run_say_so_of_all_others() {
        let mut told = Teller::new(&["a", "b", "c"]);
        for name in ["a", "b", "c"] {
            told.line(name, 0, "started", name);
        }
        let pairs = [("a", "b"), ("a", "c"), ("b", "a"), ("b", "c"), ("c", "a")];
        for (by, about) in pairs {
            told.line(by, 10, "peer_up", about);
        }
        assert!(!told.story.full_roster());
        assert!(told.story.summary().contains("c lacks b\n"), "{}", told.story.summary());
        told.line("c", 30, "peer_up", "b");
        assert!(told.story.full_roster());
        let complete = told.story.roster_complete().unwrap();
        let elapsed = complete.since(told.story.last_started().unwrap());
        assert_eq!(elapsed.read, Duration::from_millis(30));
        assert_eq!(elapsed.told, Some(Duration::from_millis(30)));
    }

    #[test]
    fn a_suspect_is_not_in_the_roster_and_its_return_does_not_move_the_first_time() {
        let mut told = Teller::new(&["a", "b"]);
        for (by, about) in [("a", "b"), ("b", "a")] {
            told.line(by, 0, "started", by);
            told.line(by, 5, "peer_up", about);
        }
        told.line("a", 50, "peer_suspect", "b");
        assert!(!told.story.full_roster());
        assert!(told.story.summary().contains("a lacks b (peer_suspect)"), "{}", told.story.summary());
        told.line("a", 60, "peer_up", "b");
        let complete = told.story.roster_complete().unwrap();
        assert_eq!(complete.since(told.story.last_started().unwrap()).read, Duration::from_millis(5));
    }

    #[test]
    fn the_dead_neither_count_nor_are_asked() {
        let mut told = Teller::new(&["a", "b", "c"]);
        for name in ["a", "b", "c"] {
            told.line(name, 0, "started", name);
        }
        let mark = told.moment(20);
        told.story.end("c");
        told.line("a", 30, "peer_failed", "c");
        told.line("a", 35, "peer_failed", "c");
        told.line("c", 31, "peer_failed", "c");
        let failed = told.story.first_about(&Kind::PeerFailed, "c", mark);
        assert_eq!(failed.keys().copied().collect::<Vec<_>>(), ["a"], "b has not said so, c is the dead itself");
        assert_eq!(failed["a"].moment.since(mark).read, Duration::from_millis(10), "the first counts");
        assert!(told.story.first_about(&Kind::PeerFailed, "c", told.moment(40)).is_empty(), "none is later");
        for (by, about) in [("a", "b"), ("b", "a")] {
            told.line(by, 50, "peer_up", about);
        }
        assert!(told.story.full_roster(), "{}", told.story.summary());
    }

    #[test]
    fn a_new_run_begins_with_an_empty_roster_and_is_deaf_to_its_past() {
        let mut told = Teller::new(&["a", "b"]);
        told.line("a", 0, "started", "a");
        told.line("a", 5, "peer_up", "b");
        told.story.end("a");
        assert_eq!(told.story.begin("a"), 2);
        assert_eq!(told.story.opinion("a", "b"), None);
        // A line of the first run that was still in the pipe.
        told.line("a", 6, "peer_up", "b");
        assert_eq!(told.story.opinion("a", "b"), None);
        assert!(!told.story.has_started("a"));
        assert_eq!(told.story.seen().len(), 3, "and yet it is in the story");
    }

    /// Tells events of first runs at times after a fixed start.
    struct Teller {
        story: Story,
        start: Instant,
    }

    impl Teller {
        fn new(names: &[&str]) -> Self {
            let mut story = Story::default();
            for name in names {
                assert_eq!(story.begin(name), 1);
            }
            Self { story, start: Instant::now() }
        }

        fn moment(&self, ms: u64) -> Moment {
            let after = Duration::from_millis(ms);
            Moment { read: self.start + after, told: Some(after.as_secs_f64()) }
        }

        fn line(&mut self, by: &str, ms: u64, kind: &str, about: &str) {
            let event = Event::parse(&format!(r#"{{"event":"{kind}","node_id":"{about}"}}"#)).unwrap();
            self.story.add(Seen { by: by.to_owned(), run: 1, moment: self.moment(ms), event });
        }
    }
}
