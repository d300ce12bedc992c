//! Decides how it is measured that a flow finds another way when its own breaks, and goes back when that is repaired.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use kodikon_lab::{Distribution, Elapsed, Host, Lab, Moment, Topology};

use crate::babeld::{Datagrams, Timers};
use crate::flow::{Cable, Faults, Flow, Letters, await_on_cable, outlast};
use crate::report::{Report, Row, Spans};
use crate::target::{self, Target};
use crate::trial::{Contestant, ROSTER_LIMIT, Runs, WATCHED, phase};

/// From whom to whom: in both meshes two links apart, four by any other way.
const FROM: Host = Host(1);
const TO: Host = Host(3);
/// Breaks in one mesh, before a new one is made: each is to be an accident, and not a habit of the link.
const PER_MESH: u32 = 10;
/// For so long a link stays cut at least.
const HOLD: Duration = Duration::from_secs(3);
/// A rival by its default timers needs 22 s, and a minute after many changes.
const SILENCE_LIMIT: Duration = Duration::from_secs(120);
const RETURN_LIMIT: Duration = Duration::from_secs(180);
/// Left in peace before the next break: a part of it, another one each time, so that all phases of regular acts are hit.
const PEACE: Duration = Duration::from_secs(2);

/// Who carries the flow.
#[derive(Clone)]
pub(crate) enum Carrier {
    Mesh(Contestant),
    Babeld(PathBuf, Timers),
}

/// One row of breaks.
struct Case {
    topology: Topology,
    nodes: u16,
    is_silent: bool,
    /// The two links of the shorter way: segment, its end nearer to the sender, the other one.
    links: [(&'static str, Host, Host); 2],
    /// What its rows are called: silence, return, undelivered, told twice.
    rows: [&'static str; 4],
    targets: &'static [Target],
}

/// How a link is to be.
#[derive(Clone, Copy)]
enum Link {
    Broken,
    Whole,
}

/// What a case gave.
#[derive(Default)]
struct Breaks {
    count: u32,
    silences: Spans,
    returns: Spans,
    promises: Option<Faults>,
}

/// Breaks links under flows, `runs` times each, and repairs them.
pub(crate) fn reroute(carriers: &[Carrier], runs: Runs, report: &mut Report) {
    let cases = cases();
    for carrier in carriers {
        let cuts = if matches!(carrier, Carrier::Mesh(_)) { runs.ours } else { runs.rival.min(runs.ours) };
        eprintln!("{cuts} breaks under a flow of {}, in {} meshes at the same time", carrier.name(), cases.len());
        let found: Vec<_> = thread::scope(|scope| {
            let run = |case| scope.spawn(move || run(carrier, case, cuts));
            let threads: Vec<_> = cases.iter().map(run).collect();
            threads.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))).collect()
        });
        for (case, done) in cases.iter().zip(found) {
            match done {
                Ok((breaks, outcome)) => {
                    outcome
                        .unwrap_or_else(|error| report.fail(format!("{}: {}", carrier.name(), case.rows[0]), &error));
                    case.note(carrier, breaks, report);
                }
                Err(error) => report.fail(format!("{}: {}", carrier.name(), case.rows[0]), &error),
            }
        }
    }
}

/// What the rows of a case are called.
macro_rules! rows {
    ($case:literal) => {
        [
            concat!($case, ": silence of the flow"),
            concat!($case, ": return to the shorter way"),
            concat!($case, ": messages not delivered"),
            concat!($case, ": messages told twice"),
        ]
    };
}

fn cases() -> [Case; 4] {
    let ring = |is_silent, rows, targets| Case {
        topology: Topology::ring(6),
        nodes: 6,
        is_silent,
        links: [("s1", FROM, Host(2)), ("s2", Host(2), TO)],
        rows,
        targets,
    };
    let grid = |is_silent, rows| Case {
        topology: Topology::grid(3, 3),
        nodes: 9,
        is_silent,
        links: [("r1", FROM, Host(2)), ("r2", Host(2), TO)],
        rows,
        targets: target::NO_TARGET,
    };
    [
        ring(true, rows!("silent cut in a ring"), target::REROUTE),
        ring(false, rows!("interface down in a ring"), target::NO_TARGET),
        grid(true, rows!("silent cut in a grid")),
        grid(false, rows!("interface down in a grid")),
    ]
}

impl Carrier {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Mesh(contestant) => contestant.name,
            Self::Babeld(_, timers) => timers.name,
        }
    }

    fn start<'lab>(&self, lab: &'lab Lab, case: &Case, trial: u32) -> Result<Box<dyn Flow + 'lab>> {
        match self {
            Self::Mesh(contestant) => {
                let mut fleet = contestant.fleet(lab, case.nodes, trial)?;
                fleet.wait_full_roster(ROSTER_LIMIT)?;
                // Until each is watched and every link is known.
                fleet.listen(WATCHED)?;
                Ok(Box::new(Letters::start(lab, fleet, FROM, TO)?))
            }
            Self::Babeld(program, timers) => Ok(Box::new(Datagrams::start(lab, program, *timers, (FROM, TO))?)),
        }
    }
}

impl Case {
    fn note(&self, carrier: &Carrier, breaks: Breaks, report: &mut Report) {
        let row = |what, unit, targets: &'static [Target]| Row { what, nodes: self.nodes, unit, targets };
        let [silence, back, undelivered, twice] = self.rows;
        let name = carrier.name();
        let mut note = format!("{} breaks", breaks.count);
        if let Carrier::Babeld(_, timers) = carrier {
            note = format!("{note}, {}", timers.words);
        }
        report.add_spans(row(silence, "ms", self.targets), name, breaks.silences, Some(note));
        report.add_spans(row(back, "ms", target::NO_TARGET), name, breaks.returns, None);
        if let Some(promises) = breaks.promises {
            let note = Some(format!("of {}", promises.sent));
            report.add(row(undelivered, "messages", target::NONE), name, count(promises.undelivered), note);
            report.add(row(twice, "messages", target::NONE), name, count(promises.twice), None);
        }
    }

    /// Breaks one of the links or repairs it, and says when: before the switch or the host was told.
    fn turn(&self, lab: &Lab, number: u32, to: Link) -> Result<Moment> {
        let (segment, near, far) = self.link(number);
        // In turn: the nearer end's interface, which sees it at once, and the farther end's, which is only not heard any more.
        let downed = if (number / 2).is_multiple_of(2) { near } else { far };
        let mark = Moment::now();
        match (self.is_silent, to) {
            (true, Link::Broken) => lab.cut_segment(segment)?,
            (true, Link::Whole) => lab.heal(segment)?,
            (false, Link::Broken) => lab.interface_down(segment, downed)?,
            (false, Link::Whole) => lab.interface_up(segment, downed)?,
        }
        Ok(mark)
    }

    fn link(&self, number: u32) -> (&'static str, Host, Host) {
        self.links[usize::from(number % 2 == 1)]
    }
}

/// All breaks of a case; what was found before an error counts.
fn run(carrier: &Carrier, case: &Case, cuts: u32) -> (Breaks, Result<()>) {
    let mut breaks = Breaks::default();
    let outcome = break_and_repair(carrier, case, cuts, &mut breaks);
    (breaks, outcome)
}

fn break_and_repair(carrier: &Carrier, case: &Case, cuts: u32, breaks: &mut Breaks) -> Result<()> {
    let lab = Lab::up("reroute", &case.topology)?;
    while breaks.count < cuts {
        lab.forget_neighbours()?;
        let mut flow = carrier.start(&lab, case, breaks.count)?;
        for _ in 0..PER_MESH.min(cuts - breaks.count) {
            one(&lab, flow.as_mut(), case, breaks).with_context(|| format!("break {}", breaks.count))?;
            breaks.count += 1;
        }
        if let Some(faults) = flow.end()? {
            let sum = breaks.promises.get_or_insert_default();
            sum.sent += faults.sent;
            sum.undelivered += faults.undelivered;
            sum.twice += faults.twice;
        }
    }
    Ok(())
}

fn one(lab: &Lab, flow: &mut dyn Flow, case: &Case, breaks: &mut Breaks) -> Result<()> {
    for (segment, _, host) in case.links {
        await_on_cable(lab, flow, Cable { segment, host }, RETURN_LIMIT)?;
    }
    flow.listen(PEACE.mul_f64(phase(breaks.count)))?;
    let cut = case.turn(lab, breaks.count, Link::Broken)?;
    breaks.silences.push(outlast(flow, cut.read, HOLD, SILENCE_LIMIT)?);
    let repaired = case.turn(lab, breaks.count, Link::Whole)?;
    let (segment, _, host) = case.link(breaks.count);
    let back = await_on_cable(lab, flow, Cable { segment, host }, RETURN_LIMIT)?;
    breaks.returns.push(Elapsed { read: since(back, repaired), told: None });
    Ok(())
}

fn since(later: Instant, mark: Moment) -> Duration {
    later.saturating_duration_since(mark.read)
}

#[expect(clippy::cast_precision_loss, reason = "nobody sends 2^53 messages")]
fn count(messages: u64) -> Distribution {
    Distribution::of([messages as f64])
}
