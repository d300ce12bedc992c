//! Decides how it is measured what a hundred thousand sightings cost: to import, to hold, to start with, and to fetch from a peer.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kodikon_lab::{Distribution, Host, Lab, Process, Program, Topology, write_embeddings};
use serde_json::Value;

use crate::crowd::{self, Crowd};
use crate::report::{Report, Row};
use crate::target::{self, Target};
use crate::trial::Contestant;

const DIMS: usize = 512;
const HOLDER: Host = Host(1);
const NEWCOMER: Host = Host(2);
/// How long the slowest part may take.
const LIMIT: Duration = Duration::from_secs(600);
/// How often a node is asked whether it is done: a verb takes some milliseconds of the processor that the node works with.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Bytes of a packet that are no payload, at least: the headers of Ethernet, of IPv4 and of UDP (TCP's is longer).
const HEADERS: f64 = 14.0 + 20.0 + 8.0;

/// Measures all of that with so many sightings; restarts and fetches are done several times.
pub(crate) fn volume(contestant: &Contestant, records: u32, runs: u32, report: &mut Report) {
    let Program::Kodikon(binary) = &contestant.program else { return };
    eprintln!("{records} sightings of {DIMS} numbers");
    if let Err(error) = Volume::begin(binary, records).and_then(|volume| volume.run(runs, report)) {
        report.fail(format!("{records} sightings"), &error);
    }
}

struct Volume {
    lab: Lab,
    binary: PathBuf,
    records: u32,
}

fn row(what: &'static str, unit: &'static str, targets: &'static [Target]) -> Row {
    Row { what, nodes: 0, unit, targets }
}

impl Volume {
    fn begin(binary: &Path, records: u32) -> Result<Self> {
        let lab = Lab::up("volume", &Topology::flat(2))?;
        Ok(Self { lab, binary: binary.to_owned(), records })
    }

    fn run(&self, runs: u32, report: &mut Report) -> Result<()> {
        let each = f64::from(self.records);
        let file = self.lab.directory().join("sightings.npy");
        write_embeddings(&file, self.records, DIMS)?;

        let mut holder = self.start(HOLDER)?;
        let before = holder.usage()?.anonymous_kib;
        let began = Instant::now();
        self.verb(HOLDER, &["import", &text(&file)?, "--type", "person", "--model", "m", "--prefix", "p"])?;
        let rate = each / began.elapsed().as_secs_f64();
        report.add_value(row("import: durable adds a second", "adds", target::NO_TARGET), "kodikon", rate, None);
        #[expect(clippy::cast_precision_loss, reason = "memory stays far below 2^53 bytes")]
        let memory = (holder.usage()?.anonymous_kib - before) as f64 * 1_024.0 / each;
        report.add_value(row("a sighting: in memory", "bytes", target::NO_TARGET), "kodikon", memory, None);
        holder.terminate(LIMIT)?;
        let disk = bytes_in(&self.data(HOLDER))? / each;
        report.add_value(row("a sighting: on disk", "bytes", target::NO_TARGET), "kodikon", disk, None);

        let (mut started, mut searchable) = (Vec::new(), Vec::new());
        for _ in 0..runs {
            let began = Instant::now();
            let mut holder = self.start(HOLDER)?;
            started.push(began.elapsed());
            self.await_found(HOLDER, &file)?;
            searchable.push(began.elapsed());
            // The next finds what a crash leaves.
            holder.kill()?;
        }
        let what = "restart with all of them: to `started`";
        report.add(row(what, "ms", target::NO_TARGET), "kodikon", Distribution::of_ms(started), None);
        let what = "restart with all of them: to a certified answer";
        report.add(row(what, "ms", target::RESTART), "kodikon", Distribution::of_ms(searchable), None);

        let mut holder = self.start(HOLDER)?;
        self.await_found(HOLDER, &file)?;
        let alone = self.crowd()?;
        self.fetch(runs, report)?;
        let mut peer = self.start(NEWCOMER)?;
        self.await_kept(NEWCOMER)?;
        self.await_found(NEWCOMER, &file)?;
        let beside = self.crowd()?;
        // While it was alone there was nobody to hand anything to.
        let stats = self.verb(HOLDER, &["stats"])?;
        let count = |name: &str| number(&stats, &format!("/counters/{name}")).with_context(|| name.to_owned());
        let (handed, back) = (count("searches_handed")?, count("searches_taken_back")?);
        peer.terminate(LIMIT)?;
        holder.terminate(LIMIT)?;
        tell_crowds(alone, beside, (handed, back), report);
        Ok(())
    }

    /// Many searches at once of the holder.
    fn crowd(&self) -> Result<Crowd> {
        self.lab.inside(HOLDER, || crowd::ask(&self.data(HOLDER), self.records))?
    }

    /// A newcomer fetches all of it, so many times.
    fn fetch(&self, runs: u32, report: &mut Report) -> Result<()> {
        let (mut held, mut kept) = (Vec::new(), Vec::new());
        let (mut overhead, mut payload) = (Vec::new(), Vec::new());
        for _ in 0..runs {
            let (before, began) = (self.received()?, Instant::now());
            let mut newcomer = self.start(NEWCOMER)?;
            self.await_stats(NEWCOMER, |stats| self.is_held(stats))?;
            held.push(began.elapsed().as_secs_f64());
            let stats = self.await_kept(NEWCOMER)?;
            kept.push(began.elapsed().as_secs_f64());
            // At the switch: streams bring most of it, with all their headers.
            let now = self.received()?;
            let (bytes, headers) = (now.0 - before.0, HEADERS * (now.1 - before.1));
            let ops = number(&stats, "/registry/record_bytes").context("bytes of its ops")?;
            overhead.push(bytes / ops);
            payload.push((bytes - headers) / ops);
            newcomer.kill()?;
            fs::remove_dir_all(self.data(NEWCOMER))?;
        }
        let note = Some("from the launch of the newcomer; both on the same cores".to_owned());
        let what = "a newcomer fetches them: searchable";
        report.add(row(what, "s", target::PULLED), "kodikon", Distribution::of(held), note);
        let what = "a newcomer fetches them: on disk";
        report.add(row(what, "s", target::PULLED_DURABLY), "kodikon", Distribution::of(kept), None);
        let what = "a newcomer fetches them: bytes received, in bytes of the ops";
        report.add(row(what, "1", target::NO_TARGET), "kodikon", Distribution::of(overhead), None);
        let what = "a newcomer fetches them: payload received, in bytes of the ops";
        let note =
            Some("seals, proofs and all that is said meanwhile included; less 42 bytes of headers a packet".to_owned());
        report.add(row(what, "1", target::PULLED_BYTES), "kodikon", Distribution::of(payload), note);
        Ok(())
    }

    /// Bytes and packets that the newcomer's host was given so far.
    #[expect(clippy::cast_precision_loss, reason = "some gigabytes at most")]
    fn received(&self) -> Result<(f64, f64)> {
        let counters = self.lab.counters()?;
        let own = counters.iter().filter(|((host, _), _)| *host == NEWCOMER).map(|(_, traffic)| traffic);
        Ok(own.fold((0.0, 0.0), |(bytes, packets), traffic| {
            (bytes + traffic.received_bytes as f64, packets + traffic.received_packets as f64)
        }))
    }

    fn data(&self, host: Host) -> PathBuf {
        self.lab.directory().join(host.to_string())
    }

    /// Starts a node and waits until it says that it runs. What it tells later is read and not kept.
    fn start(&self, host: Host) -> Result<Process> {
        let mut command = self.lab.command(host, &self.binary);
        command.args(["up", "--json", "--node-id", &host.to_string(), "--data-dir"]).arg(self.data(host));
        let (started, has_started) = std::sync::mpsc::channel();
        let process = self.lab.spawn_into(&mut command, move |line| {
            if line.text.contains("\"started\"") {
                // An error means that it was waited for in vain.
                let _ = started.send(());
            }
        })?;
        has_started.recv_timeout(LIMIT).context("it does not say that it runs")?;
        Ok(process)
    }

    fn verb(&self, host: Host, words: &[&str]) -> Result<Value> {
        let mut command = self.lab.command(host, &self.binary);
        command.args(words).args(["--json", "--data-dir"]).arg(self.data(host));
        let text = self.lab.run(&mut command, LIMIT)?.success()?;
        serde_json::from_str(&text).with_context(|| format!("{words:?} printed {text}"))
    }

    /// Waits until the last of the file is found for certain.
    fn await_found(&self, host: Host, file: &Path) -> Result<()> {
        let (file, row) = (text(file)?, (self.records - 1).to_string());
        let report = self.verb(host, &["search", "--embedding", &file, "--row", &row, "-k", "1", "--timeout", "60"])?;
        let hash = &report["results"][0]["hash_value"];
        ensure!(*hash == format!("p{row}") && report["certified"] == true, "row {row}: {report}");
        Ok(())
    }

    /// Waits until a node has all of them at hand and on its disk.
    fn await_kept(&self, host: Host) -> Result<Value> {
        let is_kept = |stats: &Value| number(stats, "/registry/log_commits") == Some(0.0);
        self.await_stats(host, |stats| self.is_held(stats) && is_kept(stats))
    }

    /// Whether a node has all of them at hand to search.
    fn is_held(&self, stats: &Value) -> bool {
        number(stats, "/registry/embeddings") == Some(f64::from(self.records))
    }

    fn await_stats(&self, host: Host, done: impl Fn(&Value) -> bool) -> Result<Value> {
        let end = Instant::now() + LIMIT;
        loop {
            let stats = self.verb(host, &["stats"])?;
            if done(&stats) {
                return Ok(stats);
            }
            ensure!(Instant::now() < end, "not within {LIMIT:?}: {}", stats["registry"]);
            thread::sleep(LOOK_EVERY);
        }
    }
}

/// What many searches at once took while the holder was alone, and beside a peer, to which it handed so many and took so many back.
fn tell_crowds(alone: Crowd, beside: Crowd, (handed, back): (f64, f64), report: &mut Report) {
    let what = "searches of one node at once, by 32: each";
    report.add(row(what, "ms", target::NO_TARGET), "kodikon", Distribution::of_ms(alone.each), None);
    let what = "searches of one node at once, by 32: answered a second";
    report.add_value(row(what, "searches", target::NO_TARGET), "kodikon", alone.rate, None);
    let what = "the same beside a peer that has nothing to do: each";
    let note = format!(
        "it holds the same and was handed {handed:.0}, of which {back:.0} were taken back; both on the same cores"
    );
    report.add(row(what, "ms", target::NO_TARGET), "kodikon", Distribution::of_ms(beside.each), Some(note));
    let what = "the same beside a peer that has nothing to do: answered a second";
    report.add_value(row(what, "searches", target::NO_TARGET), "kodikon", beside.rate, None);
}

fn number(document: &Value, pointer: &str) -> Option<f64> {
    document.pointer(pointer)?.as_f64()
}

fn text(file: &Path) -> Result<String> {
    file.to_str().map(str::to_owned).context("a path in UTF-8")
}

#[expect(clippy::cast_precision_loss, reason = "files stay far below 2^53 bytes")]
fn bytes_in(directory: &Path) -> Result<f64> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes as f64)
}
