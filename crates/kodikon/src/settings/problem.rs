//! Where a setting came from, and what can be wrong with it.

use std::fmt;
use std::path::PathBuf;

/// Where a value was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// Nowhere: the built-in value.
    #[default]
    Default,
    /// In a file.
    File {
        /// Which.
        path: PathBuf,
        /// Counted from 1; 0 where the whole file is meant.
        line: u32,
        /// Counted from 1, in characters.
        column: u32,
    },
    /// In an environment variable.
    Environment(String),
    /// On the command line, by this flag.
    Flag(&'static str),
    /// In the program that embeds the node.
    Program,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line: 0, .. } => write!(f, "{}", path.display()),
            Self::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Self::Environment(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
            Self::Program => f.write_str("program"),
        }
    }
}

/// What is wrong with a setting, and what would be right.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Wrong {
    /// The file is missing or closed to us.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// The file is larger than any configuration.
    #[error("is larger than {limit} bytes: is it the right file?")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// The key file that is named is none.
    #[error("{0}; `kodikon key new FILE` makes a key file")]
    KeyFile(String),
    /// Not YAML.
    #[error("is not YAML: {0}")]
    Syntax(String),
    /// A key that stands twice in one section.
    #[error("{}stands here a second time in its section: keep one", quoted(.key))]
    Twice {
        /// Which.
        key: Option<String>,
    },
    /// More than one document.
    #[error("a second document begins here (`---`): keep one")]
    SecondDocument,
    /// Larger or deeper than any configuration.
    #[error("is larger or deeper than any configuration: is it the right file?")]
    TooMuch,
    /// The top of the file is not a mapping.
    #[error("must hold sections such as `mesh:`, but holds {found}")]
    NoSections {
        /// What it holds.
        found: String,
    },
    /// No such key.
    #[error("unknown key{}", hint(.near, .known))]
    UnknownKey {
        /// The key that may have been meant.
        near: Option<String>,
        /// The keys there are.
        known: Vec<String>,
    },
    /// The key is there without a value.
    #[error("has no value: give it one, or remove the line")]
    NoValue,
    /// Another kind of value.
    #[error("must be {expected}, but is {found}")]
    Kind {
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// Too small or too large.
    #[error("is {value}; allowed: {low} to {high}")]
    Range {
        /// What it is.
        value: String,
        /// The least allowed.
        low: String,
        /// The most allowed.
        high: String,
    },
    /// Not one of the words.
    #[error("is `{value}`{}", hint(.near, .allowed))]
    Choice {
        /// What it is.
        value: String,
        /// The word that may have been meant.
        near: Option<String>,
        /// The words there are.
        allowed: Vec<String>,
    },
    /// A text that breaks a rule.
    #[error("is `{value}`, but {rule}")]
    Text {
        /// What it is.
        value: String,
        /// The rule.
        rule: &'static str,
    },
    /// Two settings that cannot both hold.
    #[error("{0}")]
    Conflict(String),
}

/// A word in quotes and a blank, or what stands in place of one that cannot be shown.
fn quoted(word: &Option<String>) -> String {
    word.as_ref().map_or_else(|| "a key ".to_owned(), |word| format!("`{word}` "))
}

/// `; did you mean …?` where a word is near, else what there is.
fn hint(near: &Option<String>, known: &[String]) -> String {
    match near {
        Some(near) => format!("; did you mean `{near}`?"),
        None => format!("; known: {}", known.join(", ")),
    }
}

/// One wrong setting: where, which, and what.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{origin}: {}{wrong}", name(.key))]
pub struct Problem {
    /// Where it was written.
    pub origin: Origin,
    /// Its dotted name; none where the whole file is meant.
    pub key: Option<String>,
    /// What is wrong.
    pub wrong: Wrong,
}

/// The key with the blank that parts it from the sentence about it.
fn name(key: &Option<String>) -> String {
    key.as_ref().map(|key| format!("{key}: ")).unwrap_or_default()
}

/// Everything that is wrong, in the order it was read. At most [`Problems::MAX`] are kept.
#[derive(Clone, Debug, Default, PartialEq, thiserror::Error)]
#[error("{}", lines(.list, *.more))]
pub struct Problems {
    list: Vec<Problem>,
    more: usize,
}

/// One problem a line.
fn lines(list: &[Problem], more: usize) -> String {
    let mut text = list.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    if more > 0 {
        text.push_str(&format!("\nand {more} more"));
    }
    text
}

impl Problems {
    /// A file with more mistakes than this is another file.
    pub const MAX: usize = 20;

    pub(crate) fn push(&mut self, problem: Problem) {
        if self.list.len() < Self::MAX { self.list.push(problem) } else { self.more += 1 }
    }

    /// The problems.
    #[must_use]
    pub fn list(&self) -> &[Problem] {
        &self.list
    }

    /// How many more there are than are kept.
    #[must_use]
    pub const fn more(&self) -> usize {
        self.more
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

/// Something to be told that is no error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What it is about.
    pub origin: Origin,
    /// A sentence.
    pub text: String,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.text)
    }
}
