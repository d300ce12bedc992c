//! How results look to people: plain tables, colour on a terminal only; and how JSON leaves: whole lines, flushed.

use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::outcome::Failure;

/// How a row of a table is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Faint,
    Odd,
    Bad,
}

impl Tone {
    /// The ANSI code (ECMA-48 SGR) that paints it.
    const fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Faint => Some("2"),
            Self::Odd => Some("33"),
            Self::Bad => Some("31"),
        }
    }
}

/// Whether stdout shows colour: it is a terminal, and nobody forbids it.
fn coloured() -> bool {
    io::stdout().is_terminal() && colour_allowed()
}

/// The same for stderr.
pub(crate) fn stderr_is_coloured() -> bool {
    io::stderr().is_terminal() && colour_allowed()
}

/// `NO_COLOR` (no-color.org) is unset or empty.
fn colour_allowed() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Writes a text to stdout. A reader that went away is no error: `kodikon peers | head -1`.
pub(crate) fn text(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Undone(format!("cannot write the result: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Writes a line to stdout and flushes it; tells whether anyone still reads.
pub(crate) fn line(text: &str) -> Result<bool, Failure> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::Undone(format!("cannot write the result: {error}"))),
    }
}

/// Writes one JSON document.
pub(crate) fn json(document: &impl Serialize) -> Result<(), Failure> {
    let line = serde_json::to_string(document).expect("the rows have no keys but strings");
    text(&format!("{line}\n"))
}

/// Writes a table: a head, and rows with their tones.
pub(crate) fn table(head: &[&str], rows: &[(Tone, Vec<String>)]) -> Result<(), Failure> {
    text(&layout(head, rows, coloured()))
}

fn layout(head: &[&str], rows: &[(Tone, Vec<String>)], coloured: bool) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(head.iter().map(|word| word.to_uppercase()));
    for (_, cells) in rows {
        // A line break or an escape in a name must not become one on the terminal.
        table.add_row(cells.iter().map(|cell| cell.replace(char::is_control, "?")));
    }
    let mut text = String::new();
    let tones = std::iter::once(Tone::Faint).chain(rows.iter().map(|(tone, _)| *tone));
    for (line, tone) in table.lines().zip(tones) {
        // Each cell has a blank on both sides: the outer ones say nothing.
        let line = line.strip_prefix(' ').unwrap_or(&line).trim_end();
        match tone.code().filter(|_| coloured) {
            Some(code) => text.push_str(&format!("\x1b[{code}m{line}\x1b[0m\n")),
            None => text.push_str(&format!("{line}\n")),
        }
    }
    text
}

/// A span in the unit a person would use.
pub(crate) fn span_ms(ms: f64) -> String {
    match ms {
        _ if ms < 10.0 => format!("{ms:.1} ms"),
        _ if ms < 1_000.0 => format!("{ms:.0} ms"),
        _ if ms < 120_000.0 => format!("{:.1} s", ms / 1_000.0),
        _ if ms < 7_200_000.0 => format!("{:.0} min", ms / 60_000.0),
        _ if ms < 172_800_000.0 => format!("{:.0} h", ms / 3_600_000.0),
        _ => format!("{:.0} d", ms / 86_400_000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned_and_coloured_only_where_asked() {
        let rows = [
            (Tone::Plain, vec!["camera-1".to_owned(), "alive".to_owned()]),
            (Tone::Bad, vec!["c".to_owned(), "failed".to_owned()]),
        ];
        assert_eq!(layout(&["node", "life"], &rows, false), "NODE      LIFE\ncamera-1  alive\nc         failed\n");
        let painted = layout(&["node", "life"], &rows, true);
        assert_eq!(painted, "\x1b[2mNODE      LIFE\x1b[0m\ncamera-1  alive\n\x1b[31mc         failed\x1b[0m\n");
    }

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        let rows = [(Tone::Plain, vec!["a\x1b[2Jb\nc".to_owned()])];
        assert_eq!(layout(&["node"], &rows, false), "NODE\na?[2Jb?c\n");
    }

    #[test]
    fn a_span_is_shown_in_the_unit_a_person_would_use() {
        for (ms, expected) in [
            (0.25, "0.2 ms"),
            (42.0, "42 ms"),
            (1_500.0, "1.5 s"),
            (600_000.0, "10 min"),
            (7_200_000.0, "2 h"),
            (864_000_000.0, "10 d"),
        ] {
            assert_eq!(span_ms(ms), expected);
        }
    }
}
