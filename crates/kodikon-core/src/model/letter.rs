//! Decides what can be said to one node: how urgent it is, how long it may take, and what becomes of it.

use crate::ground::fair::Class;
use crate::ground::id::NodeId;
use crate::ground::time::Duration;

/// How urgent something is. Urgent things go first, and are tried for longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Priority {
    /// What may be late or lost.
    Low,
    /// What is usual.
    #[default]
    Normal,
    /// What should not wait.
    High,
    /// What must not wait.
    Critical,
}

impl Priority {
    /// All of them, the least urgent first.
    pub const ALL: [Self; 4] = [Self::Low, Self::Normal, Self::High, Self::Critical];

    /// Its word in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// The priority of a word.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|priority| priority.name() == name)
    }

    /// In which class it leaves.
    #[must_use]
    pub fn class(self) -> Class {
        match self {
            Self::Low => Class::Low,
            Self::Normal => Class::Normal,
            Self::High => Class::High,
            Self::Critical => Class::Critical,
        }
    }

    /// How much of a room what is of this urgency and of less may fill together: a half, three quarters, seven eighths, all. The
    /// rest is kept for what is more urgent, so that trifles never shut out what must not wait (design: overflow drops the least
    /// urgent first; at the door it is refused, since a promise once made is kept).
    #[must_use]
    pub fn share(self, of: usize) -> usize {
        match self {
            Self::Low => of / 2,
            Self::Normal => of / 4 * 3,
            Self::High => of / 8 * 7,
            Self::Critical => of,
        }
    }

    /// How long a message may take if nothing else is said: design figures, a critical one as long as a failed neighbour
    /// may take to be noticed by everybody.
    #[must_use]
    pub fn deadline(self) -> Duration {
        match self {
            Self::Low => Duration::from_secs(2),
            Self::Normal => Duration::from_secs(5),
            Self::High => Duration::from_secs(10),
            Self::Critical => Duration::from_secs(30),
        }
    }
}

/// Names one thing that the application wants to be said, until it is settled. Given by the application's side, unique in a
/// run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

impl Ticket {
    /// Of what the mesh itself says: nobody waits for what becomes of it.
    pub const OWN: Self = Self(u64::MAX);
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The destination has it.
    Delivered {
        /// From the first attempt to its acknowledgement.
        rtt: Duration,
        /// The relays by which it came, then the destination.
        path: Vec<NodeId>,
        /// How many ways were tried.
        attempts: u8,
    },
    /// The destination did not acknowledge it in time; it may have it all the same.
    Expired {
        /// Why, in words for people.
        reason: &'static str,
        /// How many ways were tried.
        attempts: u8,
    },
    /// It was not tried: nobody knows the destination, or it is too far.
    Unreachable {
        /// Relays that the way has, where that is more than `max_hops`.
        needs_hops: Option<u8>,
    },
}
