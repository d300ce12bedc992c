//! Decides what a scenario file may say, and which scenarios there are.

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// A story to be told with many seeds.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it shows, in one line for people.
    pub what: String,
    /// Nodes in all.
    pub nodes: usize,
    /// Virtual hours of one run.
    pub hours: f64,
    /// Nodes are started within this many seconds, evenly by chance.
    #[serde(default = "second")]
    pub start_within_s: f64,
}

fn second() -> f64 {
    1.0
}

/// The scenarios of this repository: name and text.
const ALL: &[(&str, &str)] = &[
    ("cold-start-3", include_str!("../scenarios/cold-start-3.toml")),
    ("cold-start-10", include_str!("../scenarios/cold-start-10.toml")),
    ("cold-start-100", include_str!("../scenarios/cold-start-100.toml")),
    ("cold-start-1000", include_str!("../scenarios/cold-start-1000.toml")),
];

/// The names of all scenarios.
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|(name, _)| *name)
}

/// Reads a scenario by its name.
///
/// # Errors
/// There is none of this name, or its file is wrong.
pub fn find(name: &str) -> Result<Scenario> {
    let found = ALL.iter().find(|(known, _)| *known == name);
    let (_, text) = found.with_context(|| format!("no scenario `{name}`; `kodikon-sim list` shows all"))?;
    toml::from_str(text).with_context(|| format!("scenarios/{name}.toml"))
}
