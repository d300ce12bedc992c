//! How long a file and a function may grow, how a file opens, and what no file may hold.

use crate::source::Source;
use crate::{expect_none, tree};

/// Lines of a file, its tests among them.
const FILE_WALL: usize = 800;
/// Lines of a function, from its signature to its last brace: one screen.
const FUNCTION_WALL: usize = 70;
/// Where `unsafe` may stand: a file, or everything below a folder.
const UNSAFE_HOMES: [&str; 2] = ["crates/kodikon/src/sys.rs", "crates/kodikon-scan/src/"];
/// Crates whose roots forbid `unsafe` to the compiler as well.
const SAFE_CRATES: [&str; 3] = ["kodikon-core", "kodikon-sim", "kodikon-cli"];
/// Words of unfinished work, in pieces, so that this file does not hold them.
const UNFINISHED: [&str; 4] =
    [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("to", "do!"), concat!("unimplem", "ented!")];
/// A test that is switched off.
const SWITCHED_OFF: &str = concat!("#[ig", "nore");

#[test]
fn no_file_is_over_800_lines_and_no_function_over_70() {
    expect_none(&tree().iter().flat_map(sizes).collect::<Vec<_>>());
}

#[test]
fn every_file_opens_by_saying_what_it_decides() {
    expect_none(&tree().iter().filter_map(opening).collect::<Vec<_>>());
}

#[test]
fn nothing_is_left_unfinished_or_switched_off() {
    expect_none(&tree().iter().flat_map(unfinished).collect::<Vec<_>>());
}

#[test]
fn unsafe_code_lives_in_its_homes_and_nowhere_else() {
    let sources = tree();
    expect_none(&sources.iter().flat_map(unsafety).collect::<Vec<_>>());
    expect_none(&sources.iter().filter_map(unforbidden).collect::<Vec<_>>());
    for name in SAFE_CRATES {
        let roots = sources.iter().filter(|s| is_root(s) && s.path.starts_with(&format!("crates/{name}/"))).count();
        assert!(roots > 0, "{name} has a root");
    }
}

fn sizes(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    let lines = source.text.lines().count();
    if lines > FILE_WALL {
        found.push(format!("{}: {lines} lines, the wall is {FILE_WALL}", source.path));
    }
    for function in source.functions().iter().filter(|f| f.lines > FUNCTION_WALL) {
        let (name, line, lines) = (&function.name, function.line, function.lines);
        found.push(format!("{}:{line}: fn {name} takes {lines} lines, the wall is {FUNCTION_WALL}", source.path));
    }
    found
}

fn opening(source: &Source) -> Option<String> {
    let first = source.text.lines().next().unwrap_or_default();
    let says = first.strip_prefix("//!").is_some_and(|rest| !rest.trim().is_empty());
    (!says).then(|| format!("{}: does not open with a //! sentence", source.path))
}

fn unfinished(source: &Source) -> Vec<String> {
    let words = UNFINISHED.into_iter().chain([SWITCHED_OFF]);
    let places = words.flat_map(|word| source.text.lines().enumerate().filter(move |(_, line)| line.contains(word)));
    places.map(|(at, line)| format!("{}:{}: {}", source.path, at + 1, line.trim())).collect()
}

fn unsafety(source: &Source) -> Vec<String> {
    if UNSAFE_HOMES.iter().any(|home| source.path == *home || home.ends_with('/') && source.path.starts_with(home)) {
        return Vec::new();
    }
    let tokens = source.tokens();
    let places = tokens.iter().filter(|token| token.text == "unsafe");
    places.map(|token| format!("{}:{}: unsafe outside its homes", source.path, token.line)).collect()
}

fn unforbidden(source: &Source) -> Option<String> {
    let name = source.path.strip_prefix("crates/")?.split('/').next()?;
    if !SAFE_CRATES.contains(&name) || !is_root(source) {
        return None;
    }
    let forbids = source.code.contains("#![forbid(unsafe_code)]");
    (!forbids).then(|| format!("{}: a crate root without #![forbid(unsafe_code)]", source.path))
}

/// The root of a library or of a binary.
fn is_root(source: &Source) -> bool {
    let inside =
        source.path.strip_prefix("crates/").and_then(|rest| rest.split_once("/src/")).map(|(_, inside)| inside);
    inside.is_some_and(|file| matches!(file, "lib.rs" | "main.rs") || file.starts_with("bin/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source::new(path, text.to_owned())
    }

    #[test]
    fn a_file_too_long_is_caught_with_its_tests() {
        let lines = |n: usize| "x\n".repeat(n);
        let foot = "#[cfg(test)]\nmod tests {\n}\n";
        for (text, expected) in [(lines(800), 0), (lines(801), 1), (lines(797) + foot, 0), (lines(798) + foot, 1)] {
            assert_eq!(sizes(&source("a.rs", &text)).len(), expected, "{} lines", text.lines().count());
        }
    }

    #[test]
    fn a_function_too_long_is_caught_wherever_it_hides() {
        for (inside, expected) in [(68, 0), (69, 1)] {
            let body = format!("{{\n{}}}", "call();\n".repeat(inside));
            for text in [
                format!("fn f() {body}"),
                format!("impl A {{ pub(crate) async fn f<T>(x: [u8; 2]) -> Option<T> {body} }}"),
                format!("#[cfg(test)]\nmod tests {{ #[test]\nfn f() {body} }}"),
            ] {
                assert_eq!(sizes(&source("a.rs", &text)).len(), expected, "{inside} lines inside {text:.40}");
            }
        }
    }

    #[test]
    fn a_file_that_does_not_say_what_it_decides_is_caught() {
        for (text, silent) in
            [("//! Says.\n", false), ("", true), ("//!\n", true), ("// Says.\n", true), ("\n//! Late.", true)]
        {
            assert_eq!(opening(&source("a.rs", text)).is_some(), silent, "{text:?}");
        }
    }

    #[test]
    fn unfinished_work_is_caught_in_code_and_comments() {
        for word in UNFINISHED.into_iter().chain([SWITCHED_OFF]) {
            for text in [format!("// {word}: later"), format!("{word}(\"later\")"), format!("a\n{word}] fn f() {{}}")] {
                assert!(!unfinished(&source("a.rs", &text)).is_empty(), "{text:?}");
            }
        }
        assert_eq!(unfinished(&source("a.rs", "//! All method and no madness.")), [""; 0]);
    }

    #[test]
    fn unsafe_outside_its_homes_is_caught() {
        let block = "fn f() { unsafe { g() } }";
        for (path, text, caught) in [
            ("crates/kodikon/src/socket.rs", block, true),
            ("crates/kodikon/src/sys/more.rs", block, true),
            ("crates/kodikon-core/src/lib.rs", "unsafe impl Send for A {}", true),
            ("crates/kodikon/src/sys.rs", block, false),
            ("crates/kodikon-scan/src/avx2.rs", block, false),
            ("crates/kodikon-core/src/lib.rs", "#![forbid(unsafe_code)] // unsafe", false),
        ] {
            assert_eq!(!unsafety(&source(path, text)).is_empty(), caught, "{path}: {text}");
        }
    }

    #[test]
    fn a_root_that_does_not_forbid_unsafe_is_caught() {
        let good = "//! Root.\n#![forbid(unsafe_code)]\n";
        let bad = "//! Root.\n// #![forbid(unsafe_code)]\n";
        for (path, text, caught) in [
            ("crates/kodikon-core/src/lib.rs", good, false),
            ("crates/kodikon-core/src/lib.rs", bad, true),
            ("crates/kodikon-cli/src/main.rs", bad, true),
            ("crates/kodikon-sim/src/bin/other.rs", bad, true),
            ("crates/kodikon-sim/src/network.rs", bad, false),
            ("crates/kodikon/src/lib.rs", bad, false),
        ] {
            assert_eq!(unforbidden(&source(path, text)).is_some(), caught, "{path}");
        }
    }
}
