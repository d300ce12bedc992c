//! Decides which figures tell what it costs two nodes to find out what one of them lacks.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::report::{Report, Row};
use crate::target::{self, Target};

/// To whom the figures belong.
const US: &str = "kodikon";
/// How many authors, how many of a hundred of their sightings are lacking, and what the rows are called: digests, and all bytes.
const CASES: [(u16, u8, [&str; 2]); 9] = [
    (10, 0, ["digests: 10 authors, none lacking", ""]),
    (10, 10, ["digests: 10 authors, 10 % lacking", "sent in bytes of the ops: 10 authors, 10 % lacking"]),
    (10, 50, ["digests: 10 authors, 50 % lacking", "sent in bytes of the ops: 10 authors, 50 % lacking"]),
    (100, 0, ["digests: 100 authors, none lacking", ""]),
    (100, 10, ["digests: 100 authors, 10 % lacking", "sent in bytes of the ops: 100 authors, 10 % lacking"]),
    (100, 50, ["digests: 100 authors, 50 % lacking", "sent in bytes of the ops: 100 authors, 50 % lacking"]),
    (1_000, 0, ["digests: 1,000 authors, none lacking", ""]),
    (1_000, 10, ["digests: 1,000 authors, 10 % lacking", "sent in bytes of the ops: 1,000 authors, 10 % lacking"]),
    (1_000, 50, ["digests: 1,000 authors, 50 % lacking", "sent in bytes of the ops: 1,000 authors, 50 % lacking"]),
];

/// Lets two simulated nodes meet that hold so many sightings of each author, and counts what they say.
pub(crate) fn digests(program: Option<&Path>, each: u16, report: &mut Report) {
    let Some(program) = program else {
        report.skip("digests".to_owned(), "no program that counts them: see --digests".to_owned());
        return;
    };
    for (authors, lacking, names) in CASES {
        eprintln!("digests of {authors} authors, {lacking} % lacking, simulated");
        if let Err(error) = reconcile(program, (authors, lacking, each), names, report) {
            report.fail(format!("digests of {authors} authors, {lacking} % lacking"), &error);
        }
    }
}

/// The rows say what it costs where the newest of each author are lacking, since a node was away; the notes, what it costs where it is any
/// of them, since datagrams were lost.
fn reconcile(
    program: &Path,
    (authors, lacking, each): (u16, u8, u16),
    [digests, all]: [&'static str; 2],
    report: &mut Report,
) -> Result<()> {
    let mut command = Command::new(program);
    command.arg(format!("--authors={authors}")).arg(format!("--lacking={lacking}")).arg(format!("--each={each}"));
    let done = command.output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr).trim());
    let text = String::from_utf8_lossy(&done.stdout);
    let lines = text.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>().context("its output")?;
    let number = |line: &Value, name: &str| line[name].as_f64().with_context(|| format!("no number {name} in {line}"));
    let of = |pattern: &str| lines.iter().find(|line| line["pattern"] == pattern);
    let newest = of("newest").with_context(|| format!("{command:?} printed {text}"))?;
    let row = |what, unit, targets: &'static [Target]| Row { what, nodes: 2, unit, targets };
    let (missing, bytes, sent) =
        (number(newest, "missing_bytes")?, number(newest, "bytes")?, number(newest, "digest_bytes")?);
    if lacking == 0 {
        let note =
            format!("simulated; both ways, until five seconds after they have met: {bytes:.0} bytes of all kinds");
        report.add_value(row(digests, "bytes", target::NO_TARGET), US, sent, Some(note));
        return Ok(());
    }
    let scattered = of("scattered").with_context(|| format!("{command:?} printed {text}"))?;
    let lacked = number(newest, "missing")?;
    let elsewhere = number(scattered, "digest_bytes")?;
    let note = format!(
        "simulated; both ways; the newest {lacked:.0} sightings are lacking, {missing:.0} bytes; as many scattered: {elsewhere:.0}"
    );
    report.add_value(row(digests, "bytes", target::NO_TARGET), US, sent, Some(note));
    let again = number(newest, "repeated_bytes")? / missing;
    let elsewhere = number(scattered, "bytes")? / number(scattered, "missing_bytes")?;
    let note =
        format!("simulated; joining included; {again:.2} of what is lacking came twice; scattered: {elsewhere:.2}");
    report.add_value(row(all, "1", target::NO_TARGET), US, bytes / missing, Some(note));
    Ok(())
}
