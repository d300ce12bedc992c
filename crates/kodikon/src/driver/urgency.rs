//! Decides how soon a thread of the node gets a processor that others use too.
//!
//! An alert passes through a few threads, each of which has next to nothing to do; beside a program that computes, or a node that
//! takes in a registry, each of them would wait until that one's turn is over, milliseconds on a common kernel. With a turn (the
//! scheduler's *slice*) shorter than the other's it goes first when it wakes, and gets no larger share. Linux knows that since 6.12
//! and takes no notice before.

use std::time::Duration;

use crate::sys;

/// The shortest turn that Linux grants (kernel/sched/syscalls.c).
const PROMPT: Duration = Duration::from_micros(100);

/// How the thread that holds it was asked to be scheduled.
#[derive(Debug, Default)]
pub(crate) struct Urgency {
    is_prompt: bool,
}

impl Urgency {
    /// Asks for short turns, or for the system's own; of what is so already nothing is asked.
    pub(crate) fn set(&mut self, is_prompt: bool) {
        if self.is_prompt == is_prompt {
            return;
        }
        self.is_prompt = is_prompt;
        if let Err(error) = sys::set_slice(is_prompt.then_some(PROMPT)) {
            tracing::debug!(%error, "a thread is scheduled as all others are");
        }
    }
}

/// Asks that the thread that calls this gets a processor soon when it wakes, also beside programs that compute: for a thread that
/// passes on what a node says and is told, and does little else. Where the system knows no such thing, or refuses it, nothing changes.
pub fn wake_promptly() {
    Urgency::default().set(true);
}
