//! Decides how it is measured that a sighting is everywhere, and that a question is answered by everybody.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kodikon_lab::{Distribution, Elapsed, Fleet, Host, Kind, Lab, Moment, Program, Seen, Story, write_embeddings};
use serde_json::{Value, json};

use crate::report::{Report, Row, Spans};
use crate::request::Request;
use crate::target::{self, Target};
use crate::trial::{Contestant, ROSTER_LIMIT, Runs, WATCHED, lab, phase};

const DIMS: usize = 512;
const ORIGIN: Host = Host(1);
const SHOWN_LIMIT: Duration = Duration::from_secs(60);
/// Between two: no push waits for the one before, and a rival's gossip has all phases.
const PAUSE: Duration = Duration::from_millis(60);
const PHASES: Duration = Duration::from_millis(200);
/// How long a rival lets a query run: its own default for a mesh of this size is half a minute.
const RIVAL_TIMEOUT: &str = "5s";

/// What was measured of sightings that are added one after another.
#[derive(Default)]
struct Added {
    /// From the request until each other node has told of it, and until the last has: by the time that they tell.
    each: Vec<Duration>,
    last: Vec<Duration>,
    /// The same while each is read at once.
    each_read: Spans,
    last_read: Spans,
    /// From the launch of the verb, and each is read.
    last_of_verb: Spans,
    wire: Vec<f64>,
    /// The same with a byte a number.
    small_wire: Vec<f64>,
}

/// How many are added with a byte a number.
const SMALL: u32 = 50;
/// After the answer to an add: by then all have heard of it, though nobody has looked yet.
const HEARD: Duration = Duration::from_millis(60);

/// How one is added, and who looks.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    /// As a program beside the node does; what the nodes say is read afterwards.
    Unread,
    /// The same, and what they say is read at once.
    Read,
    /// By the verb, and read at once.
    Verb,
}

const WAYS: [Way; 3] = [Way::Unread, Way::Read, Way::Verb];

/// Adds sightings one after another in meshes of these sizes, each by the next way.
pub(crate) fn sightings(contestant: &Contestant, sizes: &[u16], count: u32, report: &mut Report) {
    for &nodes in sizes {
        eprintln!("{count} sightings among {nodes} nodes");
        let mut added = Added::default();
        if let Err(error) = add(contestant, (nodes, count), &mut added) {
            report.fail(format!("sightings among {nodes}"), &error);
        }
        let row = |what, targets: &'static [Target]| Row { what, nodes, unit: "ms", targets };
        let note = |text: &str| Some(text.to_owned());
        let each = Distribution::of_ms(added.each);
        report.add(row("sighting: searchable at each", target::SEARCHABLE), contestant.name, each, None);
        let request = note(
            "from the first byte of the HTTP request, which is answered when it is on disk, to the time that the nodes tell; \
             what they say is read afterwards",
        );
        let last = Distribution::of_ms(added.last);
        report.add(row("sighting: searchable at the last", target::SEARCHABLE), contestant.name, last, request);
        let read =
            note("each node's line is read at once, by a thread for each, on the processors that the nodes share");
        report.add_spans(
            row("sighting: searchable at each and read", target::NO_TARGET),
            contestant.name,
            added.each_read,
            None,
        );
        report.add_spans(
            row("sighting: searchable at the last and read", target::NO_TARGET),
            contestant.name,
            added.last_read,
            read,
        );
        let verb = note("from the launch of `add`: the program is loaded, reads the file and asks");
        report.add_spans(
            row("sighting by the verb: searchable at the last and read", target::NO_TARGET),
            contestant.name,
            added.last_of_verb,
            verb,
        );
        let bytes = Row {
            what: "sighting of 512 numbers, f16: its author sends",
            nodes,
            unit: "bytes",
            targets: target::RECORD,
        };
        let wire = note("of all it sends meanwhile, less what it sends when idle; Ethernet headers included");
        report.add(bytes, contestant.name, Distribution::of(added.wire), wire.clone());
        let bytes = Row {
            what: "sighting of 512 numbers, i8: its author sends",
            nodes,
            unit: "bytes",
            targets: target::SMALL_RECORD,
        };
        report.add(bytes, contestant.name, Distribution::of(added.small_wire), wire);
    }
}

impl Added {
    /// What the others have told of one that was added.
    fn note(&mut self, way: Way, spans: Vec<Elapsed>) {
        let last = spans.iter().copied().reduce(Elapsed::later);
        match way {
            Way::Unread => {
                self.last.extend(last.and_then(|last| last.told));
                self.each.extend(spans.iter().filter_map(|elapsed| elapsed.told));
            }
            Way::Read => {
                self.last_read.extend(last);
                self.each_read.extend(spans);
            }
            Way::Verb => self.last_of_verb.extend(last),
        }
    }
}

fn add(contestant: &Contestant, (nodes, count): (u16, u32), added: &mut Added) -> Result<()> {
    let lab = lab(nodes, std::slice::from_ref(contestant))?;
    let file = lab.directory().join("sightings.npy");
    write_embeddings(&file, count, DIMS)?;
    let embeddings = std::fs::read(&file)?;
    let mut fleet = contestant.fleet(&lab, nodes, 0)?;
    fleet.wait_full_roster(ROSTER_LIMIT)?;
    fleet.listen(WATCHED)?;
    let idle = sent(&lab, &mut fleet, WATCHED)?;
    let (before, began) = (bytes_sent(&lab)?, std::time::Instant::now());
    let others = usize::from(nodes - 1);
    for number in 0..count {
        fleet.listen(PAUSE + PHASES.mul_f64(phase(number)))?;
        let way = WAYS[number as usize % WAYS.len()];
        let embedding = json!({"model": "m", "numbers": row_of(&embeddings, (count, number))});
        let record = json!({"hash_value": format!("s{number}"), "embedding": embedding});
        let request = Request::new(fleet.data(&ORIGIN.to_string())?, "/v1/records", &record)?;
        let mut command = verb(contestant, &fleet, ORIGIN, &["add", &format!("s{number}"), "--model", "m"])?;
        command.args(["--row", &number.to_string(), "--embedding"]).arg(&file);
        let began = Moment::now();
        let mut ask = || -> Result<Moment> {
            lab.inside(ORIGIN, || {
                if way != Way::Verb {
                    return request.ask().map(|(mark, _)| mark);
                }
                let mark = Moment::now();
                succeeded(&command.output().context("the verb does not run")?).map(|()| mark)
            })?
        };
        let is_shown = |story: &Story| shown(story, number, began).count() >= others;
        let mark = if way == Way::Unread {
            let mark = fleet.unread(|| ask().inspect(|_| thread::sleep(HEARD)))??;
            fleet.wait("the sighting at all", SHOWN_LIMIT, is_shown)?;
            mark
        } else {
            let (mark, shown) = thread::scope(|scope| {
                let adding = scope.spawn(ask);
                let shown = fleet.wait("the sighting at all", SHOWN_LIMIT, is_shown);
                (adding.join(), shown)
            });
            shown?;
            mark.ok().context("the thread that adds panicked")??
        };
        added.note(way, shown(fleet.story(), number, began).map(|seen| seen.moment.since(mark)).collect());
    }
    added.wire.push(per_one(&lab, (before, began), idle, count)?);
    let (before, began) = (bytes_sent(&lab)?, std::time::Instant::now());
    for number in count..count + SMALL {
        fleet.listen(PAUSE)?;
        let embedding = json!({"model": "m", "dtype": "i8", "numbers": row_of(&embeddings, (count, number % count))});
        let record = json!({"hash_value": format!("s{number}"), "embedding": embedding});
        let request = Request::new(fleet.data(&ORIGIN.to_string())?, "/v1/records", &record)?;
        let mark = Moment::now();
        lab.inside(ORIGIN, || request.ask())??;
        fleet.wait("the sighting at all", SHOWN_LIMIT, |story| shown(story, number, mark).count() >= others)?;
    }
    added.small_wire.push(per_one(&lab, (before, began), idle, SMALL)?);
    ensure!(fleet.story().unkept() == 0, "more was told than is kept");
    fleet.kill_all()
}

/// Bytes that the origin has sent for each of so many sightings since a moment, at which it had sent so many.
fn per_one(lab: &Lab, (before, began): (f64, std::time::Instant), idle: f64, count: u32) -> Result<f64> {
    let seconds = began.elapsed().as_secs_f64();
    Ok((bytes_sent(lab)? - before - idle * seconds) / f64::from(count))
}

/// The numbers of one row of a `.npy` file, which are the last that it holds.
fn row_of(file: &[u8], (count, number): (u32, u32)) -> Vec<f32> {
    let row = DIMS * size_of::<f32>();
    let from = file.len() - row * (count - number) as usize;
    file[from..][..row].as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// Bytes a second that the origin sends of its own accord.
fn sent(lab: &Lab, fleet: &mut Fleet<'_>, time: Duration) -> Result<f64> {
    let before = bytes_sent(lab)?;
    fleet.listen(time)?;
    Ok((bytes_sent(lab)? - before) / time.as_secs_f64())
}

#[expect(clippy::cast_precision_loss, reason = "counts of minutes stay far below 2^53")]
fn bytes_sent(lab: &Lab) -> Result<f64> {
    let counters = lab.counters()?;
    Ok(counters.iter().filter(|((host, _), _)| *host == ORIGIN).map(|(_, traffic)| traffic.sent_bytes as f64).sum())
}

fn shown(story: &Story, number: u32, since: Moment) -> impl Iterator<Item = &Seen> {
    let (origin, hash) = (ORIGIN.to_string(), format!("s{number}"));
    let is_it = move |seen: &&Seen| {
        let record = seen.event.fields.get("record");
        seen.event.kind == Kind::Record
            && seen.by != origin
            && record.is_some_and(|record| record["hash_value"] == hash)
    };
    story.since(since).filter(is_it)
}

/// Puts questions that all nodes answer: each holds a sighting that no other holds. A rival's query beside it.
pub(crate) fn queries(contestants: &[Contestant], nodes: u16, runs: Runs, report: &mut Report) {
    for contestant in contestants {
        let count = runs.of(contestant);
        eprintln!("{count} questions among {nodes} {}", contestant.name);
        let (mut answered, mut returned) = (Vec::new(), Vec::new());
        if let Err(error) = ask(contestant, nodes, count, (&mut answered, &mut returned)) {
            report.fail(format!("questions among {nodes} {}", contestant.name), &error);
        }
        let row = |what, targets: &'static [Target]| Row { what, nodes, unit: "ms", targets };
        let all = row("question: all have answered", target::QUESTION);
        report.add(all, contestant.name, Distribution::of(answered), None);
        let end = row("question: the verb returns", target::NO_TARGET);
        report.add(end, contestant.name, Distribution::of(returned), Some("from its launch".to_owned()));
    }
}

fn ask(
    contestant: &Contestant,
    nodes: u16,
    count: u32,
    (answered, returned): (&mut Vec<f64>, &mut Vec<f64>),
) -> Result<()> {
    let lab = lab(nodes, std::slice::from_ref(contestant))?;
    let file = lab.directory().join("sightings.npy");
    write_embeddings(&file, nodes.into(), DIMS)?;
    let mut fleet = contestant.fleet(&lab, nodes, 0)?;
    fleet.wait_full_roster(ROSTER_LIMIT)?;
    if !contestant.is_rival() {
        for host in (1..=nodes).map(Host) {
            let row = (host.0 - 1).to_string();
            let mut add = verb(contestant, &fleet, host, &["add", &host.to_string(), "--local", "--model", "m"])?;
            add.args(["--row", &row, "--embedding"]).arg(&file);
            succeeded(&lab.inside(host, || add.output())?.context("the verb does not run")?)?;
        }
    }
    fleet.listen(WATCHED)?;
    for number in 0..count {
        fleet.listen(PAUSE + PHASES.mul_f64(phase(number)))?;
        let mut command = question(contestant, &fleet, &file, number % u32::from(nodes))?;
        let mark = Moment::now();
        let output = lab.inside(ORIGIN, || command.output())?.context("the verb does not run")?;
        let took = Moment::now().since(mark).read.as_secs_f64() * 1_000.0;
        succeeded(&output)?;
        let text = String::from_utf8_lossy(&output.stdout);
        returned.push(took);
        if contestant.is_rival() {
            // It says who has acknowledged, and not when: it returns when its time is over.
            let acks = text.lines().filter(|line| line.starts_with("Ack from")).count();
            ensure!(acks == usize::from(nodes), "{acks} of {nodes} have acknowledged: {text}");
            answered.push(took);
        } else {
            let report: Value = serde_json::from_str(&text).with_context(|| format!("the verb printed {text}"))?;
            let nearest = Host(u16::try_from(number)? % nodes + 1).to_string();
            ensure!(report["responded"] == nodes && report["of"] == nodes && report["certified"] == true, "{text}");
            ensure!(report["results"][0]["hash_value"] == nearest, "{nearest} is nearest: {text}");
            answered.extend(report["elapsed_ms"].as_f64());
        }
    }
    fleet.kill_all()
}

fn question(contestant: &Contestant, fleet: &Fleet<'_>, file: &Path, row: u32) -> Result<Command> {
    if let Program::Serf(binary) = &contestant.program {
        let mut command = Command::new(binary);
        command.args(["query", "-timeout", RIVAL_TIMEOUT, "seen", "who has seen this?"]);
        return Ok(command);
    }
    let mut command = verb(contestant, fleet, ORIGIN, &["search", "-k", "3"])?;
    command.args(["--row", &row.to_string(), "--embedding"]).arg(file);
    Ok(command)
}

fn verb(contestant: &Contestant, fleet: &Fleet<'_>, host: Host, words: &[&str]) -> Result<Command> {
    let Program::Kodikon(binary) = &contestant.program else { anyhow::bail!("{} has no registry", contestant.name) };
    let data: PathBuf = fleet.data(&host.to_string())?.to_owned();
    let mut command = Command::new(binary);
    command.args(words).args(["--json", "--data-dir"]).arg(data);
    Ok(command)
}

fn succeeded(output: &Output) -> Result<()> {
    let complaints = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {}", output.status, complaints.trim());
    Ok(())
}
