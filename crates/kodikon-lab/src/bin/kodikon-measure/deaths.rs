//! Decides how deaths are measured: by silence, crash and goodbye.

use std::time::Duration;

use anyhow::{Context, Result};
use kodikon_lab::{Elapsed, Fleet, Host, Kind, Lab, Moment, NodeSpec};

use crate::report::{Report, Row, Spans};
use crate::target::{self, Target};
use crate::trial::{Contestant, ROSTER_LIMIT, Runs, SEGMENT, WATCHED, labs, settle, told_at_all};

/// Longer than any hard bound of a program's lan profile.
const VERDICT_LIMIT: Duration = Duration::from_secs(90);
/// Meshes whose victims settle at the same time; they die one after another, so that nothing else goes on then.
const MESHES: u32 = 5;
/// A period of the heartbeat, on all phases of which the deaths are to fall.
const PHASES: Duration = Duration::from_secs(1);
/// The same for deaths that are told at once, whatever the phase.
const FEW_PHASES: Duration = Duration::from_millis(200);
/// Frames lost, in percent, where a goodbye must come through in spite of it.
const LOSS: f64 = 10.0;

/// Which deaths are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Of {
    /// All kinds, with the usual profile.
    All,
    /// Silent ones alone.
    Silence,
    /// The same with the profile `fast`, which rivals do not have.
    SilenceFast,
}

/// How a node dies.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Death {
    /// Its frames vanish; it and its host run on.
    Silence,
    /// The same of nodes with the profile `fast`.
    SilenceFast,
    /// SIGKILL; its host runs on.
    Crash,
    /// It is asked to end.
    Goodbye,
    /// The same where a tenth of all frames is lost.
    LossyGoodbye,
}

/// What one kind of death gave.
#[derive(Default)]
struct Verdicts {
    first_suspect: Spans,
    each: Spans,
    last: Spans,
    kills: u32,
    /// FAILED events about nodes that lived and were heard.
    false_failed: usize,
}

/// How many deaths of how many.
#[derive(Clone, Copy)]
struct Plan {
    nodes: u16,
    kills: u32,
}

/// Kills one node after another in each of the ways; a new one takes the place of the dead.
pub(crate) fn deaths(contestants: &[Contestant], (nodes, of): (u16, Of), kills: Runs, report: &mut Report) {
    let kinds: &[Death] = match of {
        Of::All => &[Death::Silence, Death::Crash, Death::Goodbye, Death::LossyGoodbye],
        Of::Silence => &[Death::Silence],
        Of::SilenceFast => &[Death::SilenceFast],
    };
    for &death in kinds {
        for contestant in contestants {
            let plan = Plan { nodes, kills: kills.of(contestant) };
            // To a rival without a second sign a crash is a silence.
            let is_ours_alone = matches!(death, Death::Crash | Death::LossyGoodbye | Death::SilenceFast);
            if contestant.is_rival() && is_ours_alone {
                continue;
            }
            let contestant = &Contestant { args: death.args(), ..contestant.clone() };
            eprintln!("{} of {nodes} {}, {} times", death.name(), contestant.name, plan.kills);
            let mut verdicts = Verdicts::default();
            if let Err(error) = kill(contestant, death, plan, &mut verdicts) {
                report.fail(format!("{} of {}", death.name(), contestant.name), &error);
            }
            death.note(verdicts, contestant.name, nodes, report);
        }
    }
}

impl Death {
    fn name(self) -> &'static str {
        match self {
            Self::Silence => "silence",
            Self::SilenceFast => "silence with profile `fast`",
            Self::Crash => "process crash",
            Self::Goodbye => "goodbye",
            Self::LossyGoodbye => "goodbye at 10 % loss",
        }
    }

    /// With what the nodes are started.
    fn args(self) -> &'static [&'static str] {
        match self {
            Self::SilenceFast => &["--profile", "fast"],
            Self::Silence | Self::Crash | Self::Goodbye | Self::LossyGoodbye => &[],
        }
    }

    fn is_silent(self) -> bool {
        matches!(self, Self::Silence | Self::SilenceFast)
    }

    /// The events by which the others tell it. Those who miss a goodbye call its sender FAILED: they are counted, and
    /// they have their time too.
    fn events(self) -> &'static [Kind] {
        match self {
            Self::Silence | Self::SilenceFast | Self::Crash => &[Kind::PeerFailed],
            Self::Goodbye | Self::LossyGoodbye => &[Kind::PeerLeft, Kind::PeerFailed],
        }
    }

    /// What its rows are called: at each of the others, and at the last of them.
    fn rows(self) -> [(&'static str, &'static [Target]); 2] {
        match self {
            Self::Silence => {
                [("silence: FAILED at each", target::FAILED_AT_EACH), ("silence: FAILED at all", target::FAILED_AT_ALL)]
            }
            Self::SilenceFast => [
                ("silence, profile `fast`: FAILED at each", target::NO_TARGET),
                ("silence, profile `fast`: FAILED at all", target::FAST_FAILED_AT_ALL),
            ],
            Self::Crash => {
                [("process crash: FAILED at each", target::CRASH), ("process crash: FAILED at all", target::CRASH)]
            }
            Self::Goodbye => [("goodbye: LEFT at each", target::GOODBYE), ("goodbye: LEFT at all", target::GOODBYE)],
            Self::LossyGoodbye => [
                ("goodbye at 10 % loss: LEFT at each", target::LOSSY_GOODBYE),
                ("goodbye at 10 % loss: LEFT at all", &[]),
            ],
        }
    }

    fn phases(self) -> Duration {
        match self {
            Self::Silence | Self::SilenceFast => PHASES,
            Self::Crash | Self::Goodbye | Self::LossyGoodbye => FEW_PHASES,
        }
    }

    fn note(self, verdicts: Verdicts, program: &'static str, nodes: u16, report: &mut Report) {
        let row = |what, targets: &'static [Target]| Row { what, nodes, unit: "ms", targets };
        if self.is_silent() {
            let first = match self {
                Self::SilenceFast => row("silence, profile `fast`: SUSPECT at the first", target::NO_TARGET),
                Self::Silence | Self::Crash | Self::Goodbye | Self::LossyGoodbye => {
                    row("silence: SUSPECT at the first", target::SUSPECT)
                }
            };
            report.add_spans(first, program, verdicts.first_suspect, None);
        }
        let [(each, of_each), (all, of_all)] = self.rows();
        report.add_spans(row(each, of_each), program, verdicts.each, Some(format!("{} deaths", verdicts.kills)));
        report.add_spans(row(all, of_all), program, verdicts.last, None);
        if self != Self::LossyGoodbye {
            #[expect(clippy::cast_precision_loss, reason = "a few at most")]
            let wrong = verdicts.false_failed as f64;
            let name = match self {
                Self::Silence => "silence: FAILED of nodes that live",
                Self::SilenceFast => "silence, profile `fast`: FAILED of nodes that live",
                Self::Crash => "process crash: FAILED of nodes that live",
                Self::Goodbye | Self::LossyGoodbye => "goodbye: FAILED of anybody",
            };
            let row = Row { what: name, nodes, unit: "events", targets: target::NO_FALSE_FAILED };
            report.add_value(row, program, wrong, None);
        }
    }
}

fn kill(contestant: &Contestant, death: Death, plan: Plan, verdicts: &mut Verdicts) -> Result<()> {
    let labs = labs(MESHES.min(plan.kills), plan.nodes, contestant)?;
    let mut fleets = Vec::new();
    for lab in &labs {
        if death == Death::LossyGoodbye {
            lab.loss(SEGMENT, LOSS)?;
        }
        fleets.push((lab, contestant.fleet(lab, plan.nodes - 1, 0)?));
    }
    let host = Host(plan.nodes);
    while verdicts.kills < plan.kills {
        let open = usize::try_from(plan.kills - verdicts.kills).unwrap_or(fleets.len()).min(fleets.len());
        let group = fleets.get_mut(..open).context("no more than there are")?;
        // A new name each time: the dead one's belongs to the dead for a while.
        let victim = format!("victim{}", verdicts.kills);
        for (lab, fleet) in &mut *group {
            let spec = NodeSpec::on(host).named(&victim).data(lab.directory().join(&victim));
            fleet.launch(contestant.with_args(spec))?;
        }
        for (_, fleet) in &mut *group {
            fleet.wait_full_roster(ROSTER_LIMIT).with_context(|| format!("before {victim}"))?;
        }
        let (_, first) = group.first_mut().context("at least one mesh")?;
        first.listen(WATCHED)?;
        for (lab, fleet) in group {
            settle(fleet, Duration::ZERO, death.phases(), verdicts.kills)?;
            strike(lab, fleet, (death, &victim), verdicts)?;
            verdicts.kills += 1;
        }
    }
    verdicts.false_failed = fleets.iter().map(|(_, fleet)| false_failed(fleet, death)).sum();
    Ok(())
}

/// Lets one die, and gathers what the others say of it.
fn strike(lab: &Lab, fleet: &mut Fleet<'_>, (death, victim): (Death, &str), verdicts: &mut Verdicts) -> Result<()> {
    let mark = match death {
        Death::Silence | Death::SilenceFast => {
            // Before the switch is told: its few milliseconds count as silence.
            let mark = Moment::now();
            lab.silence(SEGMENT, fleet.host(victim)?)?;
            mark
        }
        Death::Crash => fleet.kill(victim)?,
        Death::Goodbye | Death::LossyGoodbye => fleet.terminate(victim, VERDICT_LIMIT)?.0,
    };
    let spans = told_at_all(fleet, death.events(), victim, mark, VERDICT_LIMIT)?;
    let suspects = fleet.story().first_about(&Kind::PeerSuspect, victim, mark);
    let suspects = suspects.values().map(|seen| seen.moment.since(mark));
    verdicts.first_suspect.extend(suspects.min_by_key(Elapsed::longer));
    verdicts.last.push(spans.iter().copied().reduce(Elapsed::later).context("nobody was left to tell")?);
    verdicts.each.extend(spans);
    if death.is_silent() {
        fleet.kill(victim)?;
        lab.heal(SEGMENT)?;
    }
    Ok(())
}

/// Those who still run were never harmed: nobody but the victims, who heard nothing, may have called them dead. Where
/// all said goodbye nobody is.
fn false_failed(fleet: &Fleet<'_>, death: Death) -> usize {
    let story = fleet.story();
    let runs = |name: &str| story.running().any(|running| running == name);
    let failed = story.seen().iter().filter(|seen| seen.event.kind == Kind::PeerFailed && runs(&seen.by));
    let said_goodbye = matches!(death, Death::Goodbye | Death::LossyGoodbye);
    failed.filter(|seen| said_goodbye || seen.event.about.as_deref().is_some_and(runs)).count()
}
