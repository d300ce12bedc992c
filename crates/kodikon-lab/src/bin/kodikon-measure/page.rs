//! Decides how a report is shown to people: a page with one row for each thing measured, ours and the rival's beside it.

use std::collections::BTreeSet;
use std::fmt::{Result, Write};

use kodikon_lab::Figures;

use crate::report::{Machine, Measurement, Report};
use crate::target::Figure;

/// What the columns mean, below the table.
const LEGEND: &str = "\
*Measured*: p50 / p99 / number of samples, of one sample the value alone; p99 of fewer than 300 samples is little more \
than the worst. A death, a join and a heal give a sample for each other node (*at each*), and one for the last of them \
(*at all*, *at the last*).

Times run from an act of the measuring program, or from the line `started` of a node, to the line by which a node tells \
what it learned. Each is taken by two clocks, by that of the reader of the lines (monotonic) and by the time that the \
nodes tell (the clock that all hosts of one computer share), and the longer counts; a rival that tells no time has \
the first alone. An act is dated before it begins: the milliseconds in which the switch is told to part a segment are \
part of the time. The JSON document holds both.

A *silence* is the longest time without an arrival at the receiver from the last arrival before the cut on, of a flow of \
one message each 10 ms, which is part of it; a *return* runs from the repair until the flow is back on the shorter way, \
counted at the switch of the link that was cut. A rival's flow is of UDP datagrams through the kernel, whose routes it \
sets. All cases of one program run at the same time, each in a mesh of its own.

Bytes and packets are what the switch of the segment received from a host, Ethernet headers, ARP and the kernel's own \
multicast included. All idle meshes are counted at the same time, each on its own segment. CPU is user and system time.";

/// The page: what it says of the measurement, the table, what the table means.
pub(crate) fn page(report: &Report) -> String {
    let mut text = String::new();
    print(report, &mut text).expect("a String takes all that is written");
    text
}

fn print(report: &Report, text: &mut String) -> Result {
    head(report, text)?;
    let rivals: BTreeSet<&str> =
        report.measurements.iter().filter(|row| !is_ours(row)).map(|row| row.program).collect();
    let is_alone = rivals.len() < 2;
    let rival_head = if is_alone { rivals.first().copied().unwrap_or("rival") } else { "rivals" };
    writeln!(text, "| what | nodes | unit | target | measured | {rival_head} | | note |")?;
    writeln!(text, "|---|--:|---|---|--:|--:|---|---|")?;
    let mut shown: Vec<(&str, u16, &str)> = Vec::new();
    for row in &report.measurements {
        let key = (row.what, row.nodes, row.unit);
        if !shown.contains(&key) {
            shown.push(key);
            let same: Vec<&Measurement> =
                report.measurements.iter().filter(|row| (row.what, row.nodes, row.unit) == key).collect();
            line(&same, is_alone, text)?;
        }
    }
    writeln!(text, "\n{LEGEND}")?;
    for failure in &report.failures {
        writeln!(text, "\nNot measured: {}: {}", failure.what, failure.error.lines().next().unwrap_or_default())?;
    }
    for skip in &report.skipped {
        writeln!(text, "\nLeft out: {}: {}", skip.what, skip.reason)?;
    }
    Ok(())
}

fn is_ours(row: &Measurement) -> bool {
    row.program == "kodikon"
}

fn head(report: &Report, text: &mut String) -> Result {
    let Machine { cores, cpu, kernel, memory_mib, load } = &report.machine;
    let commit = report.commit.as_deref().unwrap_or("unknown");
    writeln!(text, "## {}\n", report.title)?;
    writeln!(
        text,
        "Measured {} by `{}` in {:.0} min, at commit {commit}",
        report.date,
        report.command,
        report.took_s / 60.0
    )?;
    writeln!(text, "({}), on {cores} cores ({cpu}), {memory_mib} MiB, Linux {kernel};", report.versions.join(", "))?;
    writeln!(text, "load before it {load}; the computer's clock slipped {:.1} ms meanwhile.\n", report.clock_slip_ms)
}

/// One row of the table: the same thing of all programs. Only where there are several rivals each is called by its name.
fn line(same: &[&Measurement], is_alone: bool, text: &mut String) -> Result {
    let Some(first) = same.first() else { return Ok(()) };
    let ours = same.iter().copied().find(|row| is_ours(row));
    let rivals = || same.iter().copied().filter(|row| !is_ours(row));
    let rival_cell = |row: &Measurement| if is_alone { cell(row) } else { format!("{} {}", row.program, cell(row)) };
    let nodes = if first.nodes == 0 { String::new() } else { first.nodes.to_string() };
    let targets: Vec<String> = first.targets.iter().map(ToString::to_string).collect();
    let notes = ours.into_iter().map(|row| (None, row)).chain(rivals().map(|row| (Some(row.program), row)));
    let notes = notes.filter_map(|(program, row)| {
        let note = row.note.as_deref()?;
        Some(program.map_or(note.to_owned(), |program| format!("{program}: {note}")))
    });
    writeln!(
        text,
        "| {} | {nodes} | {} | {} | {} | {} | {} | {} |",
        first.what,
        first.unit,
        targets.join(", "),
        ours.map(cell).unwrap_or_default(),
        rivals().map(rival_cell).collect::<Vec<_>>().join("; "),
        ours.and_then(|row| row.verdict.as_deref()).unwrap_or_default(),
        notes.collect::<Vec<_>>().join("; "),
    )
}

fn cell(row: &Measurement) -> String {
    let Figures { n, p50, p99, mean, .. } = row.figures;
    if n == 1 {
        return number(p50);
    }
    let judged_by_mean = row.targets.iter().any(|target| target.figure() == Figure::Mean);
    let mean = if judged_by_mean { format!(" (mean {})", number(mean)) } else { String::new() };
    format!("{} / {} / {n}{mean}", number(p50), number(p99))
}

/// Three digits that mean something.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kodikon_lab::{Distribution, Elapsed};

    use crate::report::{Row, Spans};
    use crate::target::{COLD_START_10, IDLE};

    use super::*;

    fn spans(values: &[(u64, Option<u64>)]) -> Spans {
        let mut spans = Spans::default();
        let ms = Duration::from_micros;
        spans.extend(values.iter().map(|(read, told)| Elapsed { read: ms(*read), told: told.map(ms) }));
        spans
    }

    #[test]
    fn of_several_rivals_each_is_called_by_its_name() {
        let mut report = Report::begin("measure".to_owned(), Vec::new());
        let row = Row { what: "reroute", nodes: 6, unit: "ms", targets: &[] };
        for (program, ms) in [("kodikon", 60), ("babeld", 9_000), ("babeld, fast", 700)] {
            report.add_spans(row, program, spans(&[(ms * 1_000, None)]), Some(format!("{ms}")));
        }
        let text = page(&report);
        let expected =
            "| reroute | 6 | ms |  | 60.0 | babeld 9000; babeld, fast 700 |  | 60; babeld: 9000; babeld, fast: 700 |";
        assert!(text.contains(expected), "{text}");
        assert!(text.contains("| measured | rivals |"), "{text}");
    }

    #[test]
    fn a_row_shows_ours_and_the_rivals_and_the_longer_clock_is_judged() {
        let mut report = Report::begin("measure".to_owned(), Vec::new());
        let row = Row { what: "cold start", nodes: 10, unit: "ms", targets: COLD_START_10 };
        report.add_spans(row, "kodikon", spans(&[(120_000, Some(151_000)), (151_000, None)]), Some("quiet".to_owned()));
        report.add_spans(row, "serf", spans(&[(1_500, None)]), Some("few".to_owned()));
        report.add_spans(row, "nobody", Spans::default(), None);
        let row = Row { what: "idle", nodes: 0, unit: "bytes", targets: IDLE };
        report.add(row, "kodikon", Distribution::of([1.0, 2.0, 0.05]), None);
        report.fail("heal".to_owned(), &anyhow::anyhow!("not within 5 s\nand more"));
        report.skip("alerts".to_owned(), "no such verb".to_owned());
        report.end();
        let text = page(&report);
        let rows = [
            "| what | nodes | unit | target | measured | serf | | note |",
            "| cold start | 10 | ms | p50 ≤ 150 | 151 / 151 / 2 | 1.50 | **missed** (p50 ≤ 150: 1.01×) | quiet; serf: few |",
            "| idle |  | bytes | mean ≤ 7000 | 1.00 / 2.00 / 3 (mean 1.02) |  | holds |  |",
            "Not measured: nobody: cold start: no value was found",
            "Not measured: heal: not within 5 s\n",
            "Left out: alerts: no such verb\n",
        ];
        for row in rows {
            assert!(text.contains(row), "{row} is missing in\n{text}");
        }
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["measurements"][0]["read"]["max"], 151.0);
        assert_eq!(json["measurements"][0]["told"]["n"], 1);
        assert_eq!(json["measurements"][0]["targets"][0]["limit"], 150.0);
        assert_eq!(json["measurements"][0]["targets"][0]["bound"], "at_most");
    }
}
