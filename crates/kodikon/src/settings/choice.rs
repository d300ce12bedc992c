//! The settings that are one word out of a few: which words, and what each stands for.

use kodikon_core::ground::config::{Deletes, Profile};

/// One word out of a few.
pub trait Choice: Copy + Sized + 'static {
    /// Every choice with its word, in the order they are shown.
    const ALL: &'static [(&'static str, Self)];
}

impl Choice for Profile {
    const ALL: &'static [(&'static str, Self)] =
        &[("lan", Self::Lan), ("fast", Self::Fast), ("wan", Self::Wan), ("eco", Self::Eco)];
}

impl Choice for Deletes {
    const ALL: &'static [(&'static str, Self)] = &[("all", Self::All), ("author", Self::Author)];
}

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    /// Each datagram that the system did not send, too.
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
    fn every_choice_has_a_word_of_its_own() {
        assert_eq!(["lan", "fast", "wan", "eco"], [Profile::Lan, Profile::Fast, Profile::Wan, Profile::Eco].map(word));
        assert_eq!(["all", "author"], [Deletes::All, Deletes::Author].map(word));
        assert_eq!(["text", "json"], [LogFormat::Text, LogFormat::Json].map(word));
        let levels = [LogLevel::Off, LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace];
        assert_eq!(["off", "error", "warn", "info", "debug", "trace"], levels.map(word));
    }
}
