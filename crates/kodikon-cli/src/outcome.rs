//! What a verb's end is to the shell: 0 done, 1 it could not be done, 2 wrong usage or configuration, 3 no running node found, 130 ended
//! by Ctrl-C.

use std::fmt;
use std::process::ExitCode;

use kodikon::PAYLOAD_DEPTH;

/// What is wrong with a text that should be JSON. The reader stops far deeper than a message may go, and does not say how deep that is.
pub(crate) fn why_not_json(error: &serde_json::Error) -> String {
    if is_too_deep(error) {
        return format!("a message has at most {PAYLOAD_DEPTH} arrays and objects in one another");
    }
    error.to_string()
}

/// Whether a text is JSON, as far as it was read, and far deeper than anything may go.
pub(crate) fn is_too_deep(error: &serde_json::Error) -> bool {
    error.to_string().starts_with("recursion limit exceeded")
}

/// A verb that ran to its end and printed its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// All is well.
    Well,
    /// The result is that something is not: an unhealthy network, a message that was not delivered.
    Unwell,
    /// Ctrl-C ended it, and it has told how far it came.
    Interrupted,
}

impl From<Done> for ExitCode {
    fn from(done: Done) -> Self {
        match done {
            Done::Well => Self::SUCCESS,
            Done::Unwell => Self::from(1),
            // As shells tell of a program that SIGINT (2) ended: 128 + 2.
            Done::Interrupted => Self::from(130),
        }
    }
}

/// Why a verb ended early. Its `Display` goes to stderr.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It could not be done.
    Undone(String),
    /// It was asked for in the wrong way.
    Usage(String),
    /// There is no node to ask.
    NoNode(String),
}

impl Failure {
    /// The same, and what there is to say behind it.
    pub(crate) fn with(self, more: &str) -> Self {
        match self {
            Self::Undone(text) => Self::Undone(text + more),
            Self::Usage(text) => Self::Usage(text + more),
            Self::NoNode(text) => Self::NoNode(text + more),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Undone(text) | Self::Usage(text) | Self::NoNode(text) => f.write_str(text),
        }
    }
}

impl From<Failure> for ExitCode {
    fn from(failure: Failure) -> Self {
        Self::from(match failure {
            Failure::Undone(_) => 1,
            Failure::Usage(_) => 2,
            Failure::NoNode(_) => 3,
        })
    }
}
