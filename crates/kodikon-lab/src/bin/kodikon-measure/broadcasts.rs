//! Decides how it is measured what a broadcast costs: datagrams with its payload, counted where they enter the switches.

use std::collections::BTreeSet;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kodikon_lab::{Elapsed, Fleet, Host, Kind, Lab, Moment, Program, Story, Topology};

use crate::report::{Report, Row, Spans};
use crate::target::{self, Target};
use crate::trial::{Contestant, ROSTER_LIMIT, Runs, WATCHED, has_verb, lab_of};

const ORIGIN: Host = Host(1);
const VERB_LIMIT: Duration = Duration::from_secs(30);
const TOLD_LIMIT: Duration = Duration::from_secs(30);
/// After the last: what is repeated is repeated within this.
const REPEATS: Duration = Duration::from_secs(5);
/// Twenty a second are let through.
const PAUSE: Duration = Duration::from_millis(60);
/// A rival gossips each 200 ms and packs what is new together: further apart each event has datagrams of its own.
const RIVAL_PAUSE: Duration = Duration::from_millis(1_500);
/// Characters of the payload, and from how many bytes on a packet is one that carries it. What a mesh says of itself is
/// shorter; a rival's event has 512 bytes at most.
const PAYLOAD: usize = 1_200;
const LONG: u16 = 800;
const RIVAL_PAYLOAD: usize = 450;
const RIVAL_LONG: u16 = 350;

/// A mesh, and how lossy it is.
struct Case {
    topology: fn() -> Topology,
    nodes: u16,
    segments: &'static [&'static str],
    /// Frames lost at each receiver, in percent.
    loss: f64,
    /// What its rows are called: datagrams over the lower bound, time to the last.
    rows: [&'static str; 2],
    targets: &'static [Target],
}

const ONE: &[&str] = &["a"];
const FIVE: &[&str] = &["l1", "l2", "l3", "l4", "l5"];

const CASES: [Case; 4] = [
    flat(0.0, ["broadcast: datagrams over the lower bound", "broadcast: told at the last"], target::DATAGRAMS),
    flat(
        5.0,
        ["broadcast at 5 % loss: datagrams over the lower bound", "broadcast at 5 % loss: told at the last"],
        target::DATAGRAMS_AT_5,
    ),
    flat(
        20.0,
        ["broadcast at 20 % loss: datagrams over the lower bound", "broadcast at 20 % loss: told at the last"],
        target::DATAGRAMS_AT_20,
    ),
    Case {
        topology: || Topology::gateways(5, 9),
        nodes: 49,
        segments: FIVE,
        loss: 0.0,
        rows: [
            "broadcast over five segments: datagrams over the lower bound",
            "broadcast over five segments: told at the last",
        ],
        targets: target::DATAGRAMS,
    },
];

const fn flat(loss: f64, rows: [&'static str; 2], targets: &'static [Target]) -> Case {
    Case { topology: || Topology::flat(10), nodes: 10, segments: ONE, loss, rows, targets }
}

/// Broadcasts in each of the meshes of these sizes; a rival's user events where it can be: on one segment.
pub(crate) fn broadcasts(contestants: &[Contestant], meshes: &[u16], runs: Runs, report: &mut Report) {
    for contestant in contestants {
        if !contestant.is_rival() && !has_verb(contestant, "broadcast") {
            report.skip("broadcasts".to_owned(), "this kodikon has no verb `broadcast`".to_owned());
            continue;
        }
        let cases = CASES.iter().filter(|case| meshes.contains(&case.nodes));
        for case in cases.filter(|case| !contestant.is_rival() || case.segments == ONE) {
            let count = runs.of(contestant);
            eprintln!("{count} broadcasts among {} {}, {} % loss", case.nodes, contestant.name, case.loss);
            match say_to_all(contestant, case, count) {
                Ok((datagrams, spans)) => note(contestant, case, (count, datagrams), spans, report),
                Err(error) => report.fail(format!("{}: {}", contestant.name, case.rows[0]), &error),
            }
        }
    }
}

fn note(contestant: &Contestant, case: &Case, (count, datagrams): (u32, u64), last: Spans, report: &mut Report) {
    let row = |what, unit, targets| Row { what, nodes: case.nodes, unit, targets };
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let each = datagrams as f64 / f64::from(count) / case.segments.len() as f64;
    // To the digit that the design asks for: one stray long packet among two hundred is none of the broadcasts'.
    let each = (each * 10.0).round() / 10.0;
    let note = format!("{datagrams} for {count}; lower bound {} each", case.segments.len());
    report.add_value(row(case.rows[0], "×", case.targets), contestant.name, each, Some(note));
    report.add_spans(row(case.rows[1], "ms", target::NO_TARGET), contestant.name, last, None);
}

fn say_to_all(contestant: &Contestant, case: &Case, count: u32) -> Result<(u64, Spans)> {
    let lab = lab_of(&(case.topology)(), std::slice::from_ref(contestant))?;
    let mut fleet = contestant.fleet(&lab, case.nodes, 0)?;
    fleet.wait_full_roster(ROSTER_LIMIT)?;
    fleet.listen(WATCHED)?;
    let (long, pause) = if contestant.is_rival() { (RIVAL_LONG, RIVAL_PAUSE) } else { (LONG, PAUSE) };
    for segment in case.segments {
        lab.loss(segment, case.loss)?;
        lab.count_long_packets(segment, long)?;
    }
    let mut last = Spans::default();
    for number in 0..count {
        fleet.listen(pause)?;
        last.push(
            one(&lab, &mut fleet, contestant, (case.nodes, number)).with_context(|| format!("broadcast {number}"))?,
        );
    }
    fleet.listen(REPEATS)?;
    let counts = case.segments.iter().map(|segment| lab.long_packets(segment)).collect::<Result<Vec<u64>>>()?;
    fleet.kill_all()?;
    Ok((counts.iter().sum(), last))
}

/// One broadcast, until the last of the others has told it.
fn one(lab: &Lab, fleet: &mut Fleet<'_>, contestant: &Contestant, (nodes, number): (u16, u32)) -> Result<Elapsed> {
    let mut command = verb(lab, fleet, contestant, number)?;
    let mark = Moment::now();
    let (said, told) = thread::scope(|scope| {
        let verb = scope.spawn(|| lab.run(&mut command, VERB_LIMIT));
        let others = usize::from(nodes - 1);
        let told =
            fleet.wait("the broadcast at all", TOLD_LIMIT, |story| told(story, contestant, number, mark).0 >= others);
        (verb.join(), told)
    });
    said.ok().context("the thread of the verb panicked")??.success()?;
    told?;
    let (count, last) = self::told(fleet.story(), contestant, number, mark);
    ensure!(count < usize::from(nodes), "its origin told it too");
    last.context("nobody was left to tell")
}

/// How many others have told it, and the last of the first times.
fn told(story: &Story, contestant: &Contestant, number: u32, mark: Moment) -> (usize, Option<Elapsed>) {
    let origin = ORIGIN.to_string();
    let mut known = BTreeSet::new();
    let is_it = |event: &kodikon_lab::Event| {
        if contestant.is_rival() {
            event.kind == Kind::Alert && event.about.as_deref() == Some(&format!("b{number}"))
        } else {
            event.kind == Kind::Message && event.fields.get("payload").is_some_and(|payload| payload["n"] == number)
        }
    };
    let firsts = story.since(mark).filter(|seen| seen.by != origin && is_it(&seen.event));
    let firsts = firsts.filter(|seen| known.insert(&seen.by)).map(|seen| seen.moment.since(mark));
    let last = firsts.reduce(Elapsed::later);
    (known.len(), last)
}

fn verb(lab: &Lab, fleet: &Fleet<'_>, contestant: &Contestant, number: u32) -> Result<Command> {
    if let Program::Serf(binary) = &contestant.program {
        let mut command = lab.command(ORIGIN, binary);
        command.args(["event", "-coalesce=false", &format!("b{number}"), &noise(number, RIVAL_PAYLOAD)]);
        return Ok(command);
    }
    let payload = format!("{{\"n\": {number}, \"noise\": \"{}\"}}", noise(number, PAYLOAD));
    fleet.ctl_command(&ORIGIN.to_string(), ["broadcast", &payload, "--json"])
}

/// Letters that no compression shortens by much: each has six bits that look drawn.
fn noise(seed: u32, length: usize) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    // SplitMix64, whose every output is another word (Steele, Lea, Flood 2014).
    let mut state = u64::from(seed);
    let letter = |_| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        char::from(LETTERS[usize::try_from(mixed >> 58).expect("six bits")])
    };
    (0..length).map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_as_long_as_asked_and_another_for_each_number() {
        let (one, other) = (noise(1, PAYLOAD), noise(2, PAYLOAD));
        assert_eq!((one.len(), one == other, noise(1, PAYLOAD) == one), (PAYLOAD, false, true));
        let used: BTreeSet<char> = one.chars().collect();
        assert_eq!(used.len(), 64, "all letters are used");
    }
}
