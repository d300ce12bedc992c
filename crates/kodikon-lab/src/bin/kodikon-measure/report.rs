//! Decides what is written down of a measurement: figures, what they mean, and on which computer they were taken.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Error;
use kodikon_lab::{Distribution, Elapsed, Figures};
use serde::Serialize;

use crate::target::{Target, verdict};

/// One document: everything that one call of the program has measured.
#[derive(Serialize)]
pub(crate) struct Report {
    /// What its page is headed.
    #[serde(skip)]
    pub(crate) title: &'static str,
    pub(crate) date: String,
    /// What a person types to get the same.
    pub(crate) command: String,
    pub(crate) machine: Machine,
    /// The commit of the working directory, with a `+` where files were changed.
    pub(crate) commit: Option<String>,
    pub(crate) versions: Vec<String>,
    pub(crate) took_s: f64,
    /// By how much the clock of the computer, which the nodes tell, went wrong against the one that cannot be set.
    pub(crate) clock_slip_ms: f64,
    pub(crate) measurements: Vec<Measurement>,
    /// What could not be measured, and why.
    pub(crate) failures: Vec<Failure>,
    /// What there is nothing yet to measure with, and why: no failure.
    pub(crate) skipped: Vec<Skip>,
    #[serde(skip)]
    began: (Instant, SystemTime),
}

#[derive(Serialize)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) cpu: String,
    pub(crate) kernel: String,
    pub(crate) memory_mib: u64,
    /// Of the last minute before the start: above 0 something else ran.
    pub(crate) load: String,
}

/// Figures of one thing, of one program.
#[derive(Serialize)]
pub(crate) struct Measurement {
    pub(crate) what: &'static str,
    pub(crate) program: &'static str,
    /// 0 where it is not about a mesh.
    pub(crate) nodes: u16,
    pub(crate) unit: &'static str,
    /// Of times: of the longer of the two below, sample by sample.
    pub(crate) figures: Figures,
    /// From reading a node's line to reading another's.
    pub(crate) read: Option<Figures>,
    /// By the times that the nodes told.
    pub(crate) told: Option<Figures>,
    /// What the design asks for.
    pub(crate) targets: &'static [Target],
    /// Whether it is reached; of kodikon only.
    pub(crate) verdict: Option<String>,
    pub(crate) note: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct Failure {
    pub(crate) what: String,
    pub(crate) error: String,
}

#[derive(Serialize)]
pub(crate) struct Skip {
    pub(crate) what: String,
    pub(crate) reason: String,
}

/// Which row of the table it will be.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    pub(crate) what: &'static str,
    pub(crate) nodes: u16,
    pub(crate) unit: &'static str,
    pub(crate) targets: &'static [Target],
}

/// Time spans of one kind, by both clocks.
#[derive(Default)]
pub(crate) struct Spans(Vec<Elapsed>);

impl Spans {
    pub(crate) fn push(&mut self, elapsed: Elapsed) {
        self.0.push(elapsed);
    }
}

impl Extend<Elapsed> for Spans {
    fn extend<I: IntoIterator<Item = Elapsed>>(&mut self, spans: I) {
        self.0.extend(spans);
    }
}

impl Report {
    pub(crate) fn begin(command: String, versions: Vec<String>) -> Self {
        Self {
            title: "Measured alone",
            date: rfc3339(SystemTime::now()),
            command,
            machine: Machine::this(),
            commit: commit(),
            versions,
            took_s: 0.0,
            clock_slip_ms: 0.0,
            measurements: Vec::new(),
            failures: Vec::new(),
            skipped: Vec::new(),
            began: (Instant::now(), SystemTime::now()),
        }
    }

    /// Nothing more will be measured.
    pub(crate) fn end(&mut self) {
        self.took_s = self.began.0.elapsed().as_secs_f64();
        let by_wall = match SystemTime::now().duration_since(self.began.1) {
            Ok(forward) => forward.as_secs_f64(),
            Err(backward) => -backward.duration().as_secs_f64(),
        };
        self.clock_slip_ms = (by_wall - self.took_s) * 1000.0;
    }

    /// Adds times, in milliseconds.
    pub(crate) fn add_spans(&mut self, row: Row, program: &'static str, spans: Spans, note: Option<String>) {
        let figures =
            |of: fn(&Elapsed) -> Option<Duration>| Distribution::of_ms(spans.0.iter().filter_map(of)).figures();
        let longer = Distribution::of_ms(spans.0.iter().map(Elapsed::longer));
        if self.add(row, program, longer, note)
            && let Some(last) = self.measurements.last_mut()
        {
            last.read = figures(|elapsed| Some(elapsed.read));
            last.told = figures(|elapsed| elapsed.told);
        }
    }

    /// Adds one value in the unit of the row.
    pub(crate) fn add_value(&mut self, row: Row, program: &'static str, value: f64, note: Option<String>) {
        self.add(row, program, Distribution::of([value]), note);
    }

    /// Adds values in the unit of the row; says whether there was any.
    pub(crate) fn add(&mut self, row: Row, program: &'static str, values: Distribution, note: Option<String>) -> bool {
        let Some(figures) = values.figures() else {
            let error = "no value was found".to_owned();
            self.failures.push(Failure { what: format!("{program}: {}", row.what), error });
            return false;
        };
        let Figures { n, p50, p99, .. } = figures;
        eprintln!("  {program}: {}, {} nodes: p50 {p50:.2}, p99 {p99:.2} {}, n {n}", row.what, row.nodes, row.unit);
        self.measurements.push(Measurement {
            what: row.what,
            program,
            nodes: row.nodes,
            unit: row.unit,
            figures,
            read: None,
            told: None,
            targets: row.targets,
            verdict: (program == "kodikon").then(|| verdict(row.targets, &figures)).flatten(),
            note,
        });
        true
    }

    /// Notes that something could not be measured; the rest goes on.
    pub(crate) fn fail(&mut self, what: String, error: &Error) {
        eprintln!("  {what} failed: {error:#}");
        self.failures.push(Failure { what, error: format!("{error:#}") });
    }

    /// Notes that something is left out because what it needs is not there.
    pub(crate) fn skip(&mut self, what: String, reason: String) {
        eprintln!("  {what} left out: {reason}");
        self.skipped.push(Skip { what, reason });
    }
}

impl Machine {
    fn this() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, key: &str| {
            let line = text.lines().find(|line| line.starts_with(key));
            line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let memory_kib = field(&read("/proc/meminfo"), "MemTotal");
        let memory_kib = memory_kib.split_whitespace().next().and_then(|word| word.parse::<u64>().ok());
        Self {
            cores: thread::available_parallelism().map_or(0, usize::from),
            cpu: field(&read("/proc/cpuinfo"), "model name"),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            memory_mib: memory_kib.unwrap_or_default() / 1024,
            load: read("/proc/loadavg").split_whitespace().next().unwrap_or_default().to_owned(),
        }
    }
}

fn commit() -> Option<String> {
    let git = |args: &[&str]| {
        let done = Command::new("git").args(args).output().ok().filter(|done| done.status.success())?;
        Some(String::from_utf8_lossy(&done.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|files| !files.is_empty());
    Some(if changed { commit + "+" } else { commit })
}

/// UTC to the second. Days to a date after Howard Hinnant's `civil_from_days`.
fn rfc3339(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Counted from 0000-03-01, so that the leap day is the last of a year.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_become_dates() {
        let table = [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_799, "2000-02-29T23:59:59Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ];
        for (seconds, date) in table {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)), date);
        }
    }
}
