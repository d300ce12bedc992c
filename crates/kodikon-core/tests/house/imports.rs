//! Which module of the core may name which: floors strictly downward, no machine another machine, no circle of siblings.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{Modules, Source, Token, is_word};
use crate::{expect_none, tree};

/// The floors of the core from the ground up. A file belongs to the floor that its path names; `lib.rs` is the front door and may show anything.
const FLOORS: [&str; 6] = ["ground", "model", "wire", "effect", "machines", "node"];

/// One path in the code, from the module it stands in to the module or item it names, both from the crate's root.
struct Reference {
    place: String,
    from: Vec<String>,
    to: Vec<String>,
    in_test: bool,
    /// The name under which a `use` makes it known, for following re-exports.
    known_as: Option<String>,
}

#[test]
fn every_import_of_the_core_leads_downward_and_none_in_a_circle() {
    let sources: Vec<Source> = tree().into_iter().filter(|s| s.path.starts_with("crates/kodikon-core/src/")).collect();
    assert!(!sources.is_empty(), "the core was found");
    expect_none(&complaints(&sources));
}

fn complaints(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        let (_, module) = source.module().expect("filtered to a crate's src");
        if module.first().is_some_and(|floor| rank(floor).is_none()) {
            found.push(format!("{}: on no floor; the floors are {}", source.path, FLOORS.join(", ")));
        }
    }
    let references: Vec<Reference> = sources.iter().flat_map(references).collect();
    found.extend(references.iter().filter_map(direction));
    found.extend(circles(sources, &references));
    found
}

fn rank(floor: &str) -> Option<usize> {
    FLOORS.iter().position(|f| *f == floor)
}

/// What is wrong with where a path leads, if anything.
fn direction(reference: &Reference) -> Option<String> {
    let Reference { place, from, to, .. } = reference;
    let here = rank(from.first()?)?;
    let named = to.join("::");
    let Some(there) = to.first().and_then(|floor| rank(floor)) else {
        return Some(format!("{place}: crate::{named} goes through the front door; name its floor"));
    };
    if there > here {
        return Some(format!("{place}: {} names crate::{named}, a floor above its own", FLOORS[here]));
    }
    let foreign = from.len() > 1 && from.get(1) != to.get(1);
    if there == here && FLOORS[here] == "machines" && foreign {
        return Some(format!("{place}: machine {} names crate::{named}; machines meet only in Node", from[1]));
    }
    None
}

/// Every circle among the children of one module, tests left out: a test may look at its neighbours.
fn circles(sources: &[Source], references: &[Reference]) -> Vec<String> {
    let modules: BTreeSet<Vec<String>> = sources.iter().filter_map(|s| Some(s.module()?.1)).collect();
    let mut shown: BTreeMap<(&[String], &str), &str> = BTreeMap::new();
    for reference in references.iter().filter(|r| r.to.starts_with(&r.from) && r.to.len() > r.from.len() + 1) {
        if let Some(name) = &reference.known_as {
            shown.insert((&reference.from, name), &reference.to[reference.from.len()]);
        }
    }
    let mut graphs: BTreeMap<&[String], BTreeMap<&str, BTreeSet<&str>>> = BTreeMap::new();
    for Reference { from, to, in_test, .. } in references {
        let shared = from.iter().zip(to).take_while(|(a, b)| a == b).count();
        if *in_test || shared == 0 || shared == from.len() || shared == to.len() {
            continue;
        }
        let child = if modules.contains(&to[..=shared]) {
            Some(to[shared].as_str())
        } else {
            shown.get(&(&to[..shared], to[shared].as_str())).copied()
        };
        if let Some(child) = child.filter(|child| *child != from[shared]) {
            graphs.entry(&from[..shared]).or_default().entry(&from[shared]).or_default().insert(child);
        }
    }
    let circle = |(parent, graph): (&&[String], &BTreeMap<&str, BTreeSet<&str>>)| {
        let path = circle(graph)?;
        Some(format!("{}: its parts import each other in a circle: {}", parent.join("::"), path.join(" -> ")))
    };
    graphs.iter().filter_map(circle).collect()
}

/// Takes away, again and again, what imports nothing that is left; what stays leads round in a circle.
fn circle(graph: &BTreeMap<&str, BTreeSet<&str>>) -> Option<Vec<String>> {
    let mut left = graph.clone();
    loop {
        let names: BTreeSet<&str> = left.keys().copied().collect();
        for targets in left.values_mut() {
            targets.retain(|target| names.contains(target));
        }
        let before = left.len();
        left.retain(|_, targets| !targets.is_empty());
        if left.len() == before {
            break;
        }
    }
    let mut path = vec![*left.keys().next()?];
    loop {
        let next = *left.get(path.last()?)?.first()?;
        let again = path.iter().position(|name| *name == next);
        path.push(next);
        if let Some(start) = again {
            return Some(path[start..].iter().map(|name| (*name).to_owned()).collect());
        }
    }
}

/// Every path of a file that begins with `crate`, `super` or `self`, and every `use` of a child by its bare name.
fn references(source: &Source) -> Vec<Reference> {
    let tokens = source.tokens();
    let (_, file) = source.module().expect("filtered to a crate's src");
    let mut modules = Modules::default();
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        modules.step(&tokens, at);
        let before = at.checked_sub(1).map_or("", |i| tokens[i].text);
        let roots = matches!(tokens[at].text, "crate" | "super" | "self")
            && tokens.get(at + 1).is_some_and(|t| t.text == "::")
            && before != "::";
        let bare = before == "use" && is_word(tokens[at].text);
        // `pub(in crate::…)` says who may see an item, and can name only a module around it.
        let sight = before == "in" && at >= 2 && tokens[at - 2].text == "(";
        if sight || !roots && !bare {
            continue;
        }
        let here: Vec<String> = file.iter().cloned().chain(modules.path()).collect();
        let in_test = here.iter().any(|name| name == "tests");
        let mut tree = Tree { tokens: &tokens, at, leaves: Vec::new() };
        tree.read(&[]);
        for (path, known_as) in tree.leaves {
            let place = format!("{}:{}", source.path, tokens[at].line);
            let Some(to) = absolute(&here, &path, roots) else { continue };
            let known_as = (before == "use").then_some(known_as);
            found.push(Reference { place, from: here.clone(), to, in_test, known_as });
        }
    }
    found
}

/// From the crate's root: `path` as written in module `here`. A bare name is taken for a child; if it is a foreign
/// crate, it is on no floor below `here` and nothing asks for it.
fn absolute(here: &[String], path: &[String], rooted: bool) -> Option<Vec<String>> {
    if !rooted {
        return Some(here.iter().chain(path).cloned().collect()).filter(|_| !here.is_empty());
    }
    let mut to = if path.first()? == "crate" { Vec::new() } else { here.to_vec() };
    for step in path {
        match step.as_str() {
            "crate" | "self" => {}
            "super" => drop(to.pop()),
            name => to.push(name.to_owned()),
        }
    }
    Some(to)
}

/// Reads one path, or the tree of paths of a `use`.
struct Tree<'t, 'a> {
    tokens: &'t [Token<'a>],
    at: usize,
    /// Each path, and the name it is known by.
    leaves: Vec<(Vec<String>, String)>,
}

impl Tree<'_, '_> {
    fn peek(&self) -> &str {
        self.tokens.get(self.at).map_or("", |t| t.text)
    }

    fn read(&mut self, prefix: &[String]) {
        let mut path = prefix.to_vec();
        loop {
            match self.peek() {
                "{" => return self.group(&path),
                word if is_word(word) || word == "*" => path.push(word.to_owned()),
                _ => break,
            }
            self.at += 1;
            if self.peek() != "::" {
                break;
            }
            self.at += 1;
        }
        let mut known_as = path.last().cloned().unwrap_or_default();
        if self.peek() == "as" {
            self.at += 1;
            known_as = self.peek().to_owned();
            self.at += 1;
        }
        self.leaves.push((path, known_as));
    }

    fn group(&mut self, prefix: &[String]) {
        self.at += 1;
        while !matches!(self.peek(), "}" | "") {
            let before = self.at;
            self.read(prefix);
            if self.peek() == "," || self.at == before {
                self.at += 1;
            }
        }
        self.at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints_of(files: &[(&str, &str)]) -> Vec<String> {
        let source =
            |(path, text): &(&str, &str)| Source::new(&format!("crates/kodikon-core/src/{path}"), (*text).to_owned());
        complaints(&files.iter().map(source).collect::<Vec<_>>())
    }

    #[test]
    fn an_upward_import_is_caught_however_it_is_written() {
        let table = [
            ("ground/id.rs", "use crate::model::op::Op;"),
            ("model.rs", "use crate::{ground::id::NodeId, wire::header::Header};"),
            ("model/op.rs", "use crate::{ground::{id, time}, wire::{self}};"),
            ("wire/seal.rs", "fn f() { let x = crate::effect::Output::Nothing; }"),
            ("effect.rs", "fn f(x: &crate::machines::liveness::Liveness) {}"),
            ("machines/liveness.rs", "use super::super::node::Node;"),
            ("machines/liveness/probe.rs", "pub(crate) use crate::node::{Node as N};"),
            ("ground.rs", "pub(super) use super::model;"),
            ("ground/id.rs", "mod deep { use super::super::super::wire::codec; }"),
            ("ground/id.rs", "#[cfg(test)] mod tests { use crate::node::Node; }"),
        ];
        for (path, text) in table {
            assert_eq!(complaints_of(&[(path, text)]).len(), 1, "{path}: {text}");
        }
    }

    #[test]
    fn the_front_door_and_unknown_floors_are_closed_from_inside() {
        for (path, text) in [
            ("machines/liveness.rs", "use crate::NodeId;"),
            ("model/op.rs", "use crate::*;"),
            ("ground.rs", "use super::*;"),
            ("attic.rs", ""),
        ] {
            assert_eq!(complaints_of(&[(path, text)]).len(), 1, "{path}: {text}");
        }
    }

    #[test]
    fn a_machine_that_names_another_is_caught() {
        for text in [
            "use crate::machines::membership::Roster;",
            "use super::membership;",
            "use crate::machines::Roster;",
            "use super::*;",
            "use crate::machines::{liveness::probe, membership::Roster};",
        ] {
            assert_eq!(complaints_of(&[("machines/liveness.rs", text)]).len(), 1, "{text}");
        }
        let part = ("machines/liveness/probe.rs", "use super::super::membership::Roster;");
        assert_eq!(complaints_of(&[part]).len(), 1, "from a machine's part");
    }

    #[test]
    fn what_leads_downward_or_inward_is_let_through() {
        let files = [
            ("lib.rs", "//! Door.\npub use crate::node::Node; pub use machines::liveness::Liveness; use std::fmt;"),
            ("machines.rs", "pub mod liveness; pub mod membership;"),
            (
                "machines/liveness.rs",
                "use std::fmt; use crate::ground::id::NodeId; use self::probe::Train; // crate::node",
            ),
            (
                "machines/liveness/probe.rs",
                "use super::Liveness; use crate::machines::liveness::Turn; pub(in crate::machines) fn f() {}",
            ),
            ("node.rs", "use crate::{effect::Input, machines::{liveness, membership::Roster}};"),
            ("node/outbound.rs", "use super::Node; #[cfg(test)] mod tests { use super::*; }"),
        ];
        assert_eq!(complaints_of(&files), [""; 0]);
    }

    #[test]
    fn a_circle_of_siblings_is_caught_even_through_a_re_export() {
        let direct = [
            ("wire.rs", "pub mod header; pub mod codec;"),
            ("wire/header.rs", "use super::codec::Reader;"),
            ("wire/codec.rs", "use crate::wire::header::Header;"),
        ];
        assert_eq!(complaints_of(&direct), ["wire: its parts import each other in a circle: codec -> header -> codec"]);
        let hidden = [
            ("wire.rs", "mod header; mod codec; pub use header::Header; pub use self::codec::{Reader as R};"),
            ("wire/header.rs", "use super::R;"),
            ("wire/codec.rs", "use crate::wire::Header;"),
        ];
        assert_eq!(complaints_of(&hidden).len(), 1, "through wire.rs");
        let deep = [
            ("machines/liveness/a.rs", "use super::b::B;"),
            ("machines/liveness/b/c.rs", "use crate::machines::liveness::a;"),
            ("machines/liveness/b.rs", "mod c;"),
        ];
        assert_eq!(complaints_of(&deep).len(), 1, "below a machine");
    }

    #[test]
    fn neighbours_that_do_not_look_back_are_no_circle() {
        let files = [
            ("wire.rs", "pub mod header; pub mod codec; pub use header::Header;"),
            ("wire/header.rs", "#[cfg(test)] mod tests { use super::super::codec; }"),
            ("wire/codec.rs", "use super::Header; use crate::wire::header;"),
        ];
        assert_eq!(complaints_of(&files), [""; 0]);
    }
}
