//! The settings that are one word out of a few: which words, and what each stands for.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One word out of a few.
pub trait Choice: Copy + Sized + 'static {
    /// Every choice with its word, in the order they are shown.
    const ALL: &'static [(&'static str, Self)];
}

/// How soon a silent peer is given up: the suspicion time that the LAN it runs on allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Profile {
    /// A wired or good wireless LAN: 3 s.
    #[default]
    Lan,
    /// A wired LAN where a failover is waiting: 1.5 s.
    Fast,
    /// Long or lossy ways: 8 s.
    Wan,
    /// Boards that sleep between frames: 6 s.
    Eco,
}

impl Choice for Profile {
    const ALL: &'static [(&'static str, Self)] =
        &[("lan", Self::Lan), ("fast", Self::Fast), ("wan", Self::Wan), ("eco", Self::Eco)];
}

impl Profile {
    /// How long a suspect may answer before it is declared failed.
    #[must_use]
    pub const fn suspicion(self) -> Duration {
        match self {
            Self::Lan => Duration::from_millis(3_000),
            Self::Fast => Duration::from_millis(1_500),
            Self::Wan => Duration::from_millis(8_000),
            Self::Eco => Duration::from_millis(6_000),
        }
    }
}

/// Who may delete a record. It is part of the mesh's id: nodes of different policy never meet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Deletes {
    /// Every node.
    #[default]
    All,
    /// Only the node that saw it.
    Author,
}

impl Choice for Deletes {
    const ALL: &'static [(&'static str, Self)] = &[("all", Self::All), ("author", Self::Author)];
}

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl Choice for LogFormat {
    const ALL: &'static [(&'static str, Self)] = &[("text", Self::Text), ("json", Self::Json)];
}

/// What is worth a line in the log: a level and everything graver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// What halts the node.
    Error,
    /// Odd, but the node lives.
    Warn,
    /// Changes that an operator would tell another.
    #[default]
    Info,
    /// Decisions.
    Debug,
    /// Every packet.
    Trace,
}

impl Choice for LogLevel {
    const ALL: &'static [(&'static str, Self)] = &[
        ("off", Self::Off),
        ("error", Self::Error),
        ("warn", Self::Warn),
        ("info", Self::Info),
        ("debug", Self::Debug),
        ("trace", Self::Trace),
    ];
}

/// The word of a choice.
pub(crate) fn word<C: Choice + PartialEq>(choice: C) -> &'static str {
    let found = C::ALL.iter().find(|(_, other)| *other == choice);
    found.map(|(word, _)| *word).expect("ALL lists every choice, which a test checks")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_has_the_word_that_serde_writes() {
        fn check<C: Choice + PartialEq + Serialize>() {
            for (word, choice) in C::ALL {
                assert_eq!(serde_json::to_value(choice).expect("a word"), *word);
                assert_eq!(super::word(*choice), *word);
            }
        }
        check::<Profile>();
        check::<Deletes>();
        check::<LogFormat>();
        check::<LogLevel>();
        assert_eq!((Profile::ALL.len(), Deletes::ALL.len(), LogFormat::ALL.len(), LogLevel::ALL.len()), (4, 2, 2, 6));
    }
}
