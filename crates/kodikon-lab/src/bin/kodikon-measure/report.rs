//! Decides what is written down of a measurement: figures, what they mean, and on which computer they were taken.

use std::fmt::Write;
use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Error;
use kodikon_lab::{Distribution, Elapsed, Figures};
use serde::Serialize;

use crate::trial::Contestant;

/// One document: everything that one call of the program has measured.
#[derive(Serialize)]
pub(crate) struct Report {
    date: String,
    machine: Machine,
    /// The commit of the working directory, with a `+` where files were changed.
    commit: Option<String>,
    versions: Vec<String>,
    pub(crate) measurements: Vec<Measurement>,
    /// What could not be measured, and why.
    pub(crate) failures: Vec<Failure>,
}

#[derive(Serialize)]
struct Machine {
    cores: usize,
    cpu: String,
    kernel: String,
    memory_mib: u64,
    /// Of the last minute before the start: above 0 something else ran.
    load: String,
}

/// Figures of one thing, of one program.
#[derive(Serialize)]
pub(crate) struct Measurement {
    pub(crate) what: &'static str,
    pub(crate) program: &'static str,
    pub(crate) nodes: u16,
    pub(crate) unit: &'static str,
    pub(crate) figures: Figures,
    /// The same by the times the nodes told, without the way of the event to the reader.
    pub(crate) told: Option<Figures>,
    /// What the design asks for; of kodikon only.
    pub(crate) target: Option<&'static str>,
    pub(crate) note: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct Failure {
    what: String,
    error: String,
}

/// Which row of the table it will be.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    pub(crate) what: &'static str,
    pub(crate) nodes: u16,
    pub(crate) unit: &'static str,
    pub(crate) target: &'static str,
}

/// Time spans of one kind, by both clocks.
#[derive(Default)]
pub(crate) struct Spans {
    read: Vec<Duration>,
    told: Vec<Duration>,
}

impl Spans {
    pub(crate) fn push(&mut self, elapsed: Elapsed) {
        self.read.push(elapsed.read);
        self.told.extend(elapsed.told);
    }
}

impl Report {
    pub(crate) fn begin(contestants: &[Contestant]) -> Self {
        Self {
            date: rfc3339(SystemTime::now()),
            machine: Machine::this(),
            commit: commit(),
            versions: contestants.iter().map(Contestant::version).collect(),
            measurements: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// Adds times, in milliseconds.
    pub(crate) fn add_spans(&mut self, row: Row, program: &'static str, spans: Spans, note: Option<String>) {
        let told = Distribution::of_ms(spans.told).figures();
        self.add(row, program, Distribution::of_ms(spans.read), note);
        if let Some(last) = self.measurements.last_mut() {
            last.told = told;
        }
    }

    /// Adds values in the unit of the row.
    pub(crate) fn add(&mut self, row: Row, program: &'static str, values: Distribution, note: Option<String>) {
        let Some(figures) = values.figures() else {
            let error = "no value was found".to_owned();
            self.failures.push(Failure { what: format!("{program}: {}", row.what), error });
            return;
        };
        eprintln!("  {program}: {} of {} nodes: p50 {:.2} {}", row.what, row.nodes, figures.p50, row.unit);
        self.measurements.push(Measurement {
            what: row.what,
            program,
            nodes: row.nodes,
            unit: row.unit,
            figures,
            told: None,
            target: (program == "kodikon" && !row.target.is_empty()).then_some(row.target),
            note,
        });
    }

    /// Notes that something could not be measured; the rest goes on.
    pub(crate) fn fail(&mut self, what: String, error: &Error) {
        eprintln!("  {what} failed: {error:#}");
        self.failures.push(Failure { what, error: format!("{error:#}") });
    }

    /// The table for people.
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::new();
        self.print(&mut text).expect("a String takes all that is written");
        text
    }

    fn print(&self, text: &mut String) -> std::fmt::Result {
        let Machine { cores, cpu, kernel, memory_mib, load } = &self.machine;
        let commit = self.commit.as_deref().unwrap_or("unknown");
        writeln!(text, "Measured {} on {cores} cores ({cpu}), {memory_mib} MiB, Linux {kernel}, ", self.date)?;
        writeln!(text, "load before {load}; commit {commit}; {}.\n", self.versions.join(", "))?;
        writeln!(text, "| what | program | nodes | n | unit | p50 | p99 | max | p50 told | target | note |")?;
        writeln!(text, "|---|---|--:|--:|---|--:|--:|--:|--:|---|---|")?;
        for row in &self.measurements {
            let Figures { n, p50, p99, max, .. } = row.figures;
            let told = row.told.map_or(String::new(), |told| number(told.p50));
            let (target, note) = (row.target.unwrap_or_default(), row.note.as_deref().unwrap_or_default());
            writeln!(
                text,
                "| {} | {} | {} | {n} | {} | {} | {} | {} | {told} | {target} | {note} |",
                row.what,
                row.program,
                row.nodes,
                row.unit,
                number(p50),
                number(p99),
                number(max),
            )?;
        }
        writeln!(
            text,
            "\nTimes are from reading a node's line to reading another's; *told* is by the times that the nodes say."
        )?;
        for failure in &self.failures {
            writeln!(text, "\nNot measured: {}: {}", failure.what, failure.error.lines().next().unwrap_or_default())?;
        }
        Ok(())
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

/// Three digits that mean something.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
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

    #[test]
    fn the_table_shows_figures_targets_and_failures() {
        let mut report = Report::begin(&[]);
        let row = Row { what: "cold start", nodes: 10, unit: "ms", target: "<= 150" };
        let mut spans = Spans::default();
        spans.push(Elapsed { read: Duration::from_millis(120), told: Some(Duration::from_millis(110)) });
        report.add_spans(row, "kodikon", spans, Some("quiet".to_owned()));
        let mut spans = Spans::default();
        spans.push(Elapsed { read: Duration::from_micros(1500), told: None });
        report.add_spans(row, "serf", spans, None);
        report.add_spans(row, "nobody", Spans::default(), None);
        report.fail("heal".to_owned(), &anyhow::anyhow!("not within 5 s\nand more"));
        let text = report.markdown();
        let rows = [
            "| cold start | kodikon | 10 | 1 | ms | 120 | 120 | 120 | 110 | <= 150 | quiet |",
            "| cold start | serf | 10 | 1 | ms | 1.50 | 1.50 | 1.50 |  |  |  |",
            "Not measured: nobody: cold start: no value was found",
            "Not measured: heal: not within 5 s\n",
        ];
        for row in rows {
            assert!(text.contains(row), "{row} is missing in\n{text}");
        }
        assert!(serde_json::to_string(&report).unwrap().contains("\"p50\":120.0"));
    }
}
