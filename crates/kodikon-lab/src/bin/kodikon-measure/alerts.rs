//! Decides how it is measured that an alert reaches everybody, and that its sender knows.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kodikon_lab::{Elapsed, Fleet, Host, Kind, Lab, Moment, Program, Seen, Story};
use serde_json::{Value, json};

use crate::report::{Report, Row, Spans};
use crate::request::Request;
use crate::target::{self, Target};
use crate::trial::{Contestant, ROSTER_LIMIT, Runs, WATCHED, has_verb, lab, phase};

const ORIGIN: Host = Host(1);
/// How long a receipt is waited for: critical alerts live as long.
const WAIT_S: u32 = 30;
const SHOWN_LIMIT: Duration = Duration::from_secs(60);
/// Between two alerts: twenty a second are let through (design, rates per origin), and a rival gossips five times a second,
/// on all phases of which they are to fall.
const PAUSE: Duration = Duration::from_millis(60);
const PHASES: Duration = Duration::from_millis(200);

/// What the alerts of one mesh gave that were raised in one way.
#[derive(Default)]
struct Times {
    each: Spans,
    last: Spans,
    receipts: Spans,
}

/// Half of the alerts are raised as a program beside the node does, half by the verb; a rival's all by its verb.
#[derive(Default)]
struct Raised {
    /// `None`: all are raised by the verb.
    by_request: Option<Times>,
    by_verb: Times,
}

/// Raises alerts one after another in meshes of these sizes, or all of them by the verb.
pub(crate) fn alerts(contestants: &[Contestant], (sizes, by_verb): (&[u16], bool), runs: Runs, report: &mut Report) {
    for contestant in contestants {
        if !contestant.is_rival() && !has_verb(contestant, "alert") {
            report.skip("alerts".to_owned(), "this kodikon has no verb `alert`".to_owned());
            continue;
        }
        for &nodes in sizes {
            let count = runs.of(contestant);
            eprintln!("{count} alerts among {nodes} {}", contestant.name);
            let by_request = (!contestant.is_rival() && !by_verb).then(Times::default);
            let mut raised = Raised { by_request, ..Raised::default() };
            if let Err(error) = raise(contestant, nodes, count, &mut raised) {
                report.fail(format!("alerts among {nodes} {}", contestant.name), &error);
            }
            note(contestant, nodes, raised, report);
        }
    }
}

fn note(contestant: &Contestant, nodes: u16, raised: Raised, report: &mut Report) {
    // The design asks for it among thirty; among fewer it is no harder.
    let row = |what, targets: &'static [Target]| Row { what, nodes, unit: "ms", targets };
    let name = contestant.name;
    let Raised { by_request, by_verb } = raised;
    if let Some(by_request) = by_request {
        let note = || Some("from the first byte of the HTTP request; it is told once it is on disk".to_owned());
        report.add_spans(row("alert: shown at each", target::NO_TARGET), name, by_request.each, None);
        report.add_spans(row("alert: shown at the last", target::ALERT_SHOWN), name, by_request.last, note());
        let all = row("alert: all receipts at its sender", target::ALERT_RECEIPTS);
        report.add_spans(all, name, by_request.receipts, Some("to the answer".to_owned()));
    }
    let note = || Some("from the launch of the verb".to_owned());
    report.add_spans(row("alert by the verb: shown at each", target::NO_TARGET), name, by_verb.each, None);
    report.add_spans(row("alert by the verb: shown at the last", target::NO_TARGET), name, by_verb.last, note());
    // A rival's event has no receipts.
    if !contestant.is_rival() {
        let all = row("alert by the verb: all receipts at its sender", target::NO_TARGET);
        report.add_spans(all, name, by_verb.receipts, Some("to the end of the verb".to_owned()));
    }
}

fn raise(contestant: &Contestant, nodes: u16, count: u32, raised: &mut Raised) -> Result<()> {
    let lab = lab(nodes, std::slice::from_ref(contestant))?;
    let mut fleet = contestant.fleet(&lab, nodes, 0)?;
    fleet.wait_full_roster(ROSTER_LIMIT)?;
    fleet.listen(WATCHED)?;
    for number in 0..count {
        fleet.listen(PAUSE + PHASES.mul_f64(phase(number)))?;
        one(&lab, &mut fleet, contestant, (nodes, number), raised).with_context(|| format!("alert {number}"))?;
    }
    ensure!(fleet.story().unkept() == 0, "more was told than is kept");
    fleet.kill_all()
}

fn one(
    lab: &Lab,
    fleet: &mut Fleet<'_>,
    contestant: &Contestant,
    (nodes, number): (u16, u32),
    raised: &mut Raised,
) -> Result<()> {
    let data = fleet.data(&ORIGIN.to_string())?.to_owned();
    let by_verb = raised.by_request.is_none() || number % 2 == 1;
    let began = Moment::now();
    // Beside the reading of the others' lines: whoever asks waits for the receipts.
    let (asked, shown) = thread::scope(|scope| {
        let asking = scope.spawn(|| {
            if by_verb { by_the_verb(lab, contestant, &data, number) } else { by_request(lab, &data, number) }
        });
        let others = usize::from(nodes - 1);
        let shown = fleet
            .wait("the alert at all", SHOWN_LIMIT, |story| shown(story, contestant, number, began).len() >= others);
        (asking.join(), shown)
    });
    let asked = asked.ok().context("the thread that asks panicked")??;
    if !contestant.is_rival() {
        complete(&asked.answer, nodes)?;
    }
    shown?;
    let spans: Vec<Elapsed> = firsts(fleet.story(), contestant, number, began, asked.mark);
    let times = raised.by_request.as_mut().filter(|_| !by_verb).unwrap_or(&mut raised.by_verb);
    times.last.extend(spans.iter().copied().reduce(Elapsed::later));
    times.each.extend(spans);
    times.receipts.push(Elapsed { told: None, ..asked.ended.since(asked.mark) });
    Ok(())
}

/// An alert was raised: when, when the answer had come that all have shown it, and that answer.
struct Asked {
    mark: Moment,
    ended: Moment,
    answer: String,
}

fn by_request(lab: &Lab, data: &Path, number: u32) -> Result<Asked> {
    let body = json!({"alert": {"n": number}, "priority": "high", "wait_s": WAIT_S});
    let request = Request::new(data, "/v1/alerts", &body)?;
    let (mark, answer) = lab.inside(ORIGIN, || request.ask())??;
    Ok(Asked { mark, ended: Moment::now(), answer })
}

fn by_the_verb(lab: &Lab, contestant: &Contestant, data: &Path, number: u32) -> Result<Asked> {
    let mut command = verb(contestant, data, number)?;
    let (mark, output, ended) = lab.inside(ORIGIN, || {
        let mark = Moment::now();
        (mark, command.output(), Moment::now())
    })?;
    let output = output.context("the verb does not run")?;
    let answer = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaints = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {answer} {}", output.status, complaints.trim());
    Ok(Asked { mark, ended, answer })
}

fn verb(contestant: &Contestant, data: &Path, number: u32) -> Result<Command> {
    let mut command;
    match &contestant.program {
        Program::Kodikon(binary) => {
            command = Command::new(binary);
            command.args([
                "alert",
                &format!("{{\"n\": {number}}}"),
                "--priority",
                "high",
                "--wait",
                &WAIT_S.to_string(),
                "--json",
            ]);
            command.arg("--data-dir").arg(data);
        }
        Program::Serf(binary) => {
            command = Command::new(binary);
            command.args(["event", "-coalesce=false", &event_name(number), "a person has entered"]);
        }
        _ => anyhow::bail!("{} raises no alerts", contestant.name),
    }
    Ok(command)
}

/// What the answer must say: that nobody is missing.
fn complete(answer: &str, nodes: u16) -> Result<()> {
    let document: Value = serde_json::from_str(answer).with_context(|| format!("the answer was {answer}"))?;
    let delivered = document["delivered"].as_array().map_or(0, Vec::len);
    ensure!(delivered == usize::from(nodes - 1), "it was delivered to {delivered} of {}: {document}", nodes - 1);
    Ok(())
}

/// Who was shown it.
fn shown(story: &Story, contestant: &Contestant, number: u32, since: Moment) -> BTreeSet<String> {
    matching(story, contestant, number, since).map(|seen| seen.by.clone()).collect()
}

/// The first time at each, from `mark`.
fn firsts(story: &Story, contestant: &Contestant, number: u32, since: Moment, mark: Moment) -> Vec<Elapsed> {
    let mut known = BTreeSet::new();
    let seen = matching(story, contestant, number, since).filter(|seen| known.insert(seen.by.clone()));
    seen.map(|seen| seen.moment.since(mark)).collect()
}

fn matching<'s>(
    story: &'s Story,
    contestant: &'s Contestant,
    number: u32,
    since: Moment,
) -> impl Iterator<Item = &'s Seen> {
    let origin = ORIGIN.to_string();
    let is_it = move |seen: &&Seen| {
        let event = &seen.event;
        let is_named = if contestant.is_rival() {
            event.about.as_deref() == Some(&event_name(number))
        } else {
            event.fields.get("alert").is_some_and(|alert| alert["n"] == number)
        };
        event.kind == Kind::Alert && seen.by != origin && is_named
    };
    story.since(since).filter(is_it)
}

fn event_name(number: u32) -> String {
    format!("e{number}")
}
