//! What a test stands on: a lab, the right to the computer, and how what it measured is judged and told.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kodikon_lab::{
    Alone, Cut, Distribution, Elapsed, Fleet, Host, Kind, Lab, Moment, NodeSpec, Sample, Topology, alone,
};
use serde_json::Value;

/// The program under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_kodikon");
/// The one segment of a flat lab.
pub(crate) const SEGMENT: &str = "a";
/// The slowest machine is through by then with what no promise limits.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How often a node is asked again whether what is awaited is there.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// How many observers a node has where there are enough others.
const OBSERVERS: usize = 5;

/// Tests whose limits are short have the computer for themselves; the others run beside each other.
static COMPUTER: RwLock<()> = RwLock::new(());

/// A lab for one test.
#[derive(Debug)]
pub(crate) struct Scene {
    // In the order of their end: the hosts go before the next test gets the computer.
    lab: Lab,
    _turn: Turn,
}

/// The right to use the computer.
#[derive(Debug)]
enum Turn {
    Alone { _others: Alone, _here: RwLockWriteGuard<'static, ()> },
    Beside { _here: RwLockReadGuard<'static, ()> },
}

impl Scene {
    /// A lab while nothing else runs, for what is measured in milliseconds; `None` where there are no namespaces.
    pub(crate) fn alone(prefix: &str, topology: &Topology) -> Option<Self> {
        // A test that failed has left nothing half done: the lock guards no data.
        let here = COMPUTER.write().unwrap_or_else(PoisonError::into_inner);
        let lab = Lab::for_test(prefix, topology)?;
        let others = alone().unwrap_or_else(|error| panic!("{prefix} does not get the computer: {error:#}"));
        Some(Self { lab, _turn: Turn::Alone { _others: others, _here: here } })
    }

    /// A lab beside those of other tests; `None` where there are no namespaces.
    pub(crate) fn beside(prefix: &str, topology: &Topology) -> Option<Self> {
        let here = COMPUTER.read().unwrap_or_else(PoisonError::into_inner);
        let lab = Lab::for_test(prefix, topology)?;
        Some(Self { lab, _turn: Turn::Beside { _here: here } })
    }

    /// A fleet of the program under test, without nodes.
    pub(crate) fn fleet(&self) -> Fleet<'_> {
        Fleet::new(&self.lab, BINARY)
    }

    /// A node on every host, each with all others in its roster.
    pub(crate) fn full_fleet(&self) -> Result<Fleet<'_>> {
        let mut fleet = self.fleet();
        fleet.start_all()?;
        fleet.wait_full_roster(PATIENCE)?;
        Ok(fleet)
    }

    /// As [`Scene::full_fleet`], of nodes whose hard bound is ten seconds instead of thirty.
    pub(crate) fn hasty_fleet(&self) -> Result<Fleet<'_>> {
        let config = self.lab.directory().join("kodikon.yaml");
        fs::write(&config, "mesh:\n  heartbeat_timeout: 10\n")?;
        let mut fleet = self.fleet();
        for host in self.lab.hosts() {
            fleet.launch(NodeSpec::on(host).arg("--config").arg(&config))?;
        }
        fleet.wait_full_roster(PATIENCE)?;
        Ok(fleet)
    }

    /// Parts the segment in two halves, silently, and waits until each has buried the other: who is then to meet whom again.
    pub(crate) fn part(&self, fleet: &mut Fleet<'_>, left: &[Host], right: &[Host]) -> Result<Vec<(String, String)>> {
        let across: Vec<(Host, Host)> = left.iter().flat_map(|one| right.iter().map(|other| (*one, *other))).collect();
        let cut = Moment::now();
        self.cuts(SEGMENT, across.iter().map(|(one, other)| Cut::Between(*one, *other)))?;
        let both_ways = across.iter().flat_map(|(one, other)| [(one, other), (other, one)]);
        let pairs: Vec<(String, String)> = both_ways.map(|(by, about)| (by.to_string(), about.to_string())).collect();
        fleet.wait("each half to bury the other", PATIENCE, |story| {
            pairs.iter().all(|(by, about)| story.first_about(&Kind::PeerFailed, about, cut).contains_key(by.as_str()))
        })?;
        Ok(pairs)
    }

    /// As [`Scene::full_fleet`], and each node is watched by its observers.
    pub(crate) fn watched_fleet(&self) -> Result<Fleet<'_>> {
        let fleet = self.full_fleet()?;
        await_watch(&fleet, true)?;
        Ok(fleet)
    }
}

impl Deref for Scene {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        &self.lab
    }
}

/// A span by the nodes' own word, which holds none of this program's waits, and by its own clock where they did not say.
pub(crate) fn span(elapsed: Elapsed) -> Duration {
    elapsed.told.unwrap_or(elapsed.read)
}

/// Each span is within the limit; what they were is printed.
pub(crate) fn expect_within(what: &str, limit: Duration, samples: &[Sample]) -> Result<()> {
    let figures = Distribution::of_ms(samples.iter().map(|sample| span(sample.elapsed))).figures();
    let figures = figures.with_context(|| format!("{what}: nobody told it"))?;
    eprintln!("{what}: {:.1} ms median, {:.1} ms at most, of {}", figures.p50, figures.max, figures.n);
    for Sample { by, elapsed } in samples {
        ensure!(span(*elapsed) <= limit, "{what}: {:?} at {by}, more than {limit:?}", span(*elapsed));
    }
    Ok(())
}

/// Nobody who runs has been called dead by anybody who runs.
pub(crate) fn expect_no_false_verdict(fleet: &Fleet<'_>) -> Result<()> {
    let story = fleet.story();
    let runs = |name: &str| story.running().any(|running| running == name);
    for seen in story.seen() {
        let about = seen.event.about.as_deref().unwrap_or_default();
        let wrong = seen.event.kind == Kind::PeerFailed && runs(&seen.by) && runs(about);
        ensure!(!wrong, "{} called {about} failed, which runs: {:?}", seen.by, seen.event.fields);
    }
    Ok(())
}

/// Waits until each node has promised all its observers a heartbeat and, where TCP passes, has a connection to each.
pub(crate) fn await_watch(fleet: &Fleet<'_>, tcp: bool) -> Result<()> {
    let names: Vec<&str> = fleet.story().running().collect();
    let pairs = (names.len() * OBSERVERS.min(names.len() - 1)) as u64;
    eventually("all observers watch", PATIENCE, || {
        let stats = names.iter().map(|name| fleet.ctl_json(name, ["stats"])).collect::<Result<Vec<Value>>>()?;
        let sum = |pointer: &str| stats.iter().map(|doc| number(doc, pointer)).sum::<Result<u64>>();
        let (watched, streams) = (sum("/registry/watched")?, sum("/queues/streams")?);
        ensure!(watched >= pairs, "{watched} of {pairs} watched");
        // Each is counted at both its ends.
        ensure!(!tcp || streams >= 2 * pairs, "{streams} ends of {pairs} connections");
        Ok(())
    })
}

/// A counter of a JSON document.
pub(crate) fn number(document: &Value, pointer: &str) -> Result<u64> {
    document.pointer(pointer).and_then(Value::as_u64).with_context(|| format!("no number {pointer} in {document}"))
}

/// Tries until it succeeds; when the time is up, the last failure says what is missing.
pub(crate) fn eventually<T>(what: &str, timeout: Duration, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + timeout;
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() >= deadline => {
                return Err(error.context(format!("{what}: not within {timeout:?}")));
            }
            Err(_) => thread::sleep(ASK_EVERY),
        }
    }
}

/// What `doctor` finds at a node in one of its checks. It may fail in others.
pub(crate) fn doctor(fleet: &Fleet<'_>, name: &str, check: &str) -> Result<Value> {
    let text = fleet.ctl(name, ["doctor", "--json"])?.stdout;
    let findings: Vec<Value> = serde_json::from_str(&text).with_context(|| format!("doctor at {name} said: {text}"))?;
    findings.into_iter().find(|row| row["check"] == check).with_context(|| format!("no check {check} in {text}"))
}

/// Waits until each running node, when asked, shows all others alive and nobody else.
pub(crate) fn expect_all_alive(fleet: &Fleet<'_>) -> Result<()> {
    let names: Vec<&str> = fleet.story().running().collect();
    eventually("all alive at all", PATIENCE, || {
        for reader in &names {
            let peers = fleet.ctl_json(reader, ["peers"])?;
            let rows = peers.as_array().context("peers is a list")?;
            let is_alive = |name: &str| rows.iter().any(|row| row["node_id"] == name && row["liveness"] == "alive");
            let lacking: Vec<&&str> = names.iter().filter(|name| *name != reader && !is_alive(name)).collect();
            ensure!(lacking.is_empty() && rows.len() + 1 == names.len(), "{reader} lacks {lacking:?} in {peers}");
        }
        Ok(())
    })
}

/// Waits until these nodes hold so many sightings, and the same.
pub(crate) fn await_one_registry<S: AsRef<str>>(
    fleet: &Fleet<'_>,
    names: &[S],
    records: usize,
    limit: Duration,
) -> Result<()> {
    eventually("one registry at all", limit, || {
        let held = |name: &S| {
            let stats = fleet.ctl_json(name.as_ref(), ["stats"])?;
            let content = stats["registry_content"].as_str().context("a digest")?.to_owned();
            Ok((name.as_ref().to_owned(), (number(&stats, "/registry/records")?, content)))
        };
        let held = names.iter().map(held).collect::<Result<BTreeMap<_, _>>>()?;
        let first = held.values().next().context("nobody was asked")?;
        ensure!(held.values().all(|one| one == first && one.0 == records as u64), "of {records}: {held:?}");
        Ok(())
    })
}

/// Waits until a node says so of its log.
pub(crate) fn await_log(fleet: &Fleet<'_>, name: &str, status: &str) -> Result<()> {
    eventually(&format!("the log of {name} {status}"), PATIENCE, || {
        let found = doctor(fleet, name, "log")?;
        ensure!(found["status"] == status, "{found}");
        Ok(())
    })
}

/// The real embeddings: features of photographs of 80 objects, four consecutive rows each.
pub(crate) const EMBEDDINGS: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../kodikon-scan/fixtures/embeddings_320x512_f32.npy");

/// A file system of a few megabytes, for as long as this lives.
pub(crate) struct SmallDisk(pub(crate) PathBuf);

impl SmallDisk {
    pub(crate) fn mount(at: PathBuf) -> Result<Self> {
        fs::create_dir(&at)?;
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=16m", "tmpfs"]).arg(&at).status()?;
        ensure!(mounted.success(), "no disk at {}", at.display());
        Ok(Self(at))
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    /// Leaves no room.
    pub(crate) fn fill(&self) -> Result<()> {
        ensure!(fs::write(self.filler(), vec![0; 32 << 20]).is_err(), "it takes more than it has");
        Ok(())
    }

    pub(crate) fn free(&self) -> Result<()> {
        Ok(fs::remove_file(self.filler())?)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Its nodes may not have ended yet: it goes with the last of them.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
