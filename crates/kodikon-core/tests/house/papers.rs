//! Whether the papers speak of what exists: the map's questions, the ledger's tests, the links, and the gate's arithmetic.

use std::collections::BTreeSet;
use std::path::Path;

use crate::source::Source;
use crate::{expect_none, root, tree};

/// Rows the map holds at least.
const QUESTIONS: usize = 20;
/// Rows the ledger holds at least: the seed makes more than a hundred claims.
const PROMISES: usize = 100;
/// How the last cell of a promise without a test begins: with the work that will bring it, or with why none is owed.
const EXCUSES: [&str; 2] = ["not kept:", "paper:"];

/// What the seed calls its classes, its methods and its types, as far as something stands in their place.
const SEED_NAMES: [&str; 14] = [
    "MeshProtocol",
    "MeshMessage",
    "PeerInfo",
    "NodeStateManager",
    "PeerDiscovery",
    "NodeState",
    "discover_peers",
    "update_node_state",
    "get_network_stats",
    "is_alive",
    "HashRegistry",
    "MessageRouter",
    "broadcast_search_query",
    "send_message",
];

#[test]
fn the_names_of_the_seed_lead_to_what_took_their_place() {
    let sources = tree();
    let lost = SEED_NAMES.iter().filter(|name| !is_findable(name, &sources));
    expect_none(&lost.map(|name| format!("nothing bears {name} or #[doc(alias = \"{name}\")]")).collect::<Vec<_>>());
}

#[test]
fn every_question_of_the_map_is_answered_by_an_item_that_exists() {
    let rows = table(&paper("ARCHITECTURE.md"), "question");
    assert!(rows.len() >= QUESTIONS, "{} questions, at least {QUESTIONS} are promised", rows.len());
    let sources = tree();
    expect_none(&rows.iter().filter_map(|row| unanswered(row, &sources)).collect::<Vec<_>>());
}

#[test]
fn every_promise_names_a_test_that_exists_or_what_will_bring_it() {
    let rows = table(&paper("docs/promises.md"), "claim");
    assert!(rows.len() >= PROMISES, "{} promises, at least {PROMISES} are made", rows.len());
    let tests = names_of_tests(&tree());
    let exists = |path: &str| root().join(path).exists();
    expect_none(&rows.iter().flat_map(|row| unkept(row, &tests, &exists)).collect::<Vec<_>>());
}

#[test]
fn every_link_between_the_papers_leads_somewhere() {
    let mut papers = Vec::new();
    for folder in [root(), root().join("docs"), root().join("docs/machines")] {
        let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        let paths = entries.map(|entry| entry.expect("a folder of the tree can be listed").path());
        papers.extend(paths.filter(|path| path.extension().is_some_and(|end| end == "md")));
    }
    papers.sort();
    expect_none(&papers.iter().flat_map(|path| broken(path)).collect::<Vec<_>>());
}

#[cfg(unix)]
#[test]
fn the_gate_adds_up_what_its_steps_report() {
    let run = std::process::Command::new("bash").arg(root().join(".ci/run")).arg("--self-test").output();
    let run = run.expect("bash is there wherever the gate runs");
    let said = String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}");
}

fn paper(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// A row of a table: the line it stands on and its cells.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    line: usize,
    cells: Vec<String>,
}

/// The rows of every table whose first heading is `first`.
fn table(text: &str, first: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut inside = false;
    for (at, line) in text.lines().enumerate() {
        let cells = cells(line);
        if cells.is_empty() {
            inside = false;
        } else if cells[0] == first {
            inside = true;
        } else if inside && !cells[0].starts_with("---") {
            rows.push(Row { line: at + 1, cells });
        }
    }
    rows
}

/// The cells of a line of a table; none if it is something else. A bar that is escaped or in code separates nothing.
fn cells(line: &str) -> Vec<String> {
    let Some(inside) = line.trim().strip_prefix('|').and_then(|rest| rest.strip_suffix('|')) else { return Vec::new() };
    let mut found = vec![String::new()];
    let (mut escaped, mut code) = (false, false);
    for c in inside.chars() {
        if c == '|' && !escaped && !code {
            found.push(String::new());
        } else {
            code ^= c == '`';
            found.last_mut().expect("begins with one").push(c);
        }
        escaped = c == '\\';
    }
    found.iter().map(|cell| cell.trim().to_owned()).collect()
}

/// What stands between backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

fn unanswered(row: &Row, sources: &[Source]) -> Option<String> {
    let [question, file, items] = &row.cells[..] else {
        return Some(format!("line {}: {} cells instead of question, file, item", row.line, row.cells.len()));
    };
    let Some(path) = quoted(file).next() else { return Some(format!("{question} names no file")) };
    let Some(source) = sources.iter().find(|source| source.path == path) else {
        return Some(format!("{question} {path} does not exist"));
    };
    let mut items = quoted(items).peekable();
    if items.peek().is_none() {
        return Some(format!("{question} names no item"));
    }
    let missing: Vec<&str> = items.filter(|item| !source.declares(item)).collect();
    (!missing.is_empty()).then(|| format!("{question} {path} declares no {}", missing.join(", ")))
}

fn unkept(row: &Row, tests: &BTreeSet<String>, exists: &dyn Fn(&str) -> bool) -> Vec<String> {
    let [claim, place, shown, rest] = &row.cells[..] else {
        return vec![format!("line {}: {} cells instead of claim, place, test, figure", row.line, row.cells.len())];
    };
    let mut found = Vec::new();
    if claim.is_empty() || place.is_empty() {
        found.push(format!("line {}: a claim and its place are both needed", row.line));
    }
    for test in quoted(shown).filter(|test| !names_a_test(test, tests)) {
        found.push(format!("line {}: {claim}: no test {test}", row.line));
    }
    if quoted(shown).next().is_none() && !EXCUSES.iter().any(|excuse| rest.starts_with(excuse)) {
        found.push(format!("line {}: {claim}: no test, and the last cell begins with none of {EXCUSES:?}", row.line));
    }
    let is_path =
        |word: &&str| ["crates/", "docs/", "scripts/", "fuzz/", ".ci/"].iter().any(|start| word.starts_with(start));
    for path in quoted(place).filter(is_path).filter(|path| !exists(path)) {
        found.push(format!("line {}: {claim}: {path} does not exist", row.line));
    }
    found
}

/// Tests as the ledger names them: `kodikon_core::module::tests::name` for what lies beside its code, and
/// `crates/NAME/tests/file.rs::name` for the rest.
fn names_of_tests(sources: &[Source]) -> BTreeSet<String> {
    let names = sources.iter().flat_map(|source| {
        let home = match source.module() {
            Some((name, module)) => [vec![name.replace('-', "_")], module].concat(),
            None => vec![source.path.clone()],
        };
        source.tests().into_iter().map(move |path| [home.clone(), path].concat().join("::"))
    });
    names.collect()
}

/// Whether `test` is a name of the set; for a file below `tests/` its last part, from `tests/` on, is enough.
fn names_a_test(test: &str, tests: &BTreeSet<String>) -> bool {
    let short = format!("/{test}");
    tests.contains(test) || test.starts_with("tests/") && tests.iter().any(|name| name.ends_with(&short))
}

/// Whether the documentation's search leads from `name` to something of the crates.
fn is_findable(name: &str, sources: &[Source]) -> bool {
    let alias = format!("#[doc(alias = \"{name}\")]");
    let inside = sources.iter().filter(|source| source.module().is_some());
    inside.into_iter().any(|source| source.text.contains(&alias) || source.declares(name))
}

/// The links of one paper that lead nowhere.
fn broken(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let folder = path.parent().expect("a file lies in a folder");
    let name = path.strip_prefix(root()).unwrap_or(path);
    let lost = links(&text).into_iter().filter(|link| !folder.join(link).exists());
    lost.map(|link| format!("{}: leads to {}, which does not exist", name.display(), link.display())).collect()
}

/// The targets of a paper's links to other files, without their anchors.
fn links(text: &str) -> Vec<&Path> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let local =
        targets.filter(|target| !target.contains("://") && !target.starts_with('#') && !target.starts_with("mailto:"));
    local.map(|target| Path::new(target.split('#').next().unwrap_or(target))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[&str]) -> Row {
        Row { line: 1, cells: cells.iter().map(|cell| (*cell).to_owned()).collect() }
    }

    #[test]
    fn a_table_is_read_row_by_row() {
        let text = "# A\n| other | b |\n|---|---|\n| x | y |\n\n| claim | b |\n|---|---|\n| `a|b` | c \\| d |\n| e | |\ntext\n| f | g |\n";
        let expected = [
            Row { line: 8, cells: vec!["`a|b`".to_owned(), "c \\| d".to_owned()] },
            Row { line: 9, cells: vec!["e".to_owned(), String::new()] },
        ];
        assert_eq!(table(text, "claim"), expected);
    }

    #[test]
    fn a_question_that_leads_nowhere_is_caught() {
        let sources =
            [Source::new("crates/a/src/b.rs", "enum Verdict { Dead } impl Verdict { fn of() {} }".to_owned())];
        for (cells, caught) in [
            (&["Where?", "`crates/a/src/b.rs`", "`Verdict::of`"][..], false),
            (&["Where?", "`crates/a/src/b.rs`", "`Verdict`, `Verdict::Dead`"], false),
            (&["Where?", "`crates/a/src/b.rs`", "`Verdict`, `Gone`"], true),
            (&["Where?", "`crates/a/src/c.rs`", "`Verdict`"], true),
            (&["Where?", "`crates/a/src/b.rs`", "Verdict"], true),
            (&["Where?", "b", "`Verdict`"], true),
            (&["Where?", "`crates/a/src/b.rs`"], true),
        ] {
            assert_eq!(unanswered(&row(cells), &sources).is_some(), caught, "{cells:?}");
        }
    }

    #[test]
    fn a_promise_without_a_test_or_a_reason_is_caught() {
        let sources = [
            Source::new(
                "crates/kodikon-core/src/a/b.rs",
                "mod tests { #[test] fn one() {} fn helper() {} }".to_owned(),
            ),
            Source::new("crates/kodikon-cli/tests/netns.rs", "#[test] fn two() {}".to_owned()),
        ];
        let tests = names_of_tests(&sources);
        let exists = |path: &str| path == "docs/here.md";
        for (cells, caught) in [
            (&["c", "p", "`kodikon_core::a::b::tests::one`", ""][..], false),
            (&["c", "p", "`crates/kodikon-cli/tests/netns.rs::two`, `tests/netns.rs::two`", "3 ms"], false),
            (&["c", "`docs/here.md`, `peers --all`", "", "not kept: why"], false),
            (&["c", "p", "`kodikon_core::a::b::tests::helper`", ""], true),
            (&["c", "p", "`kodikon_core::a::b::tests::gone`", "not kept: why"], true),
            (&["c", "p", "`tests/netns.rs::one`", ""], true),
            (&["c", "p", "`netns.rs::two`", ""], true),
            (&["c", "p", "", "3 ms"], true),
            (&["c", "p", "", ""], true),
            (&["c", "", "", "not kept: why"], true),
            (&["c", "`docs/gone.md`", "", "not kept: why"], true),
            (&["c", "p", "not kept: why"], true),
        ] {
            assert_eq!(!unkept(&row(cells), &tests, &exists).is_empty(), caught, "{cells:?}");
        }
    }

    #[test]
    fn a_name_of_the_seed_that_leads_nowhere_is_caught() {
        let text = "#[doc(alias = \"PeerInfo\")] struct Peer; enum NodeState {} // MeshProtocol".to_owned();
        let sources =
            [Source::new("crates/a/src/b.rs", text.clone()), Source::new("crates/a/tests/c.rs", text + "fn d() {}")];
        for (name, findable) in [("PeerInfo", true), ("NodeState", true), ("MeshProtocol", false), ("d", false)] {
            assert_eq!(is_findable(name, &sources), findable, "{name}");
        }
    }

    #[test]
    fn links_to_files_are_found_and_others_left_alone() {
        let text = "[a](docs/a.md) [b](https://b) [c](#c) ![d](d.png#e) f(x)[y]";
        assert_eq!(links(text), [Path::new("docs/a.md"), Path::new("d.png")]);
    }
}
