//! How far a long work has come: shown on a terminal while it lasts, and told at the end whatever ends it.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::outcome::Failure;

/// A person sees no more than ten pictures a second move.
const EVERY: Duration = Duration::from_millis(100);
/// Whoever pressed Ctrl-C waits no longer than that for what is slow.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Columns of the bar.
const WIDTH: usize = 30;

/// Whether Ctrl-C was pressed. A clone is the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Whether the work is to end as soon as what was begun is whole.
    pub(super) fn is_wanted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Does what takes as long as others want, as writing into a pipe; none where the work is to end before that. It is then left to itself.
    pub(super) fn or<T: Send + 'static>(
        &self,
        slow: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Option<T>, Failure> {
        let (told, done) = channel();
        // An error means that nobody waits any more.
        let run = move || drop(told.send(slow()));
        let thread = thread::Builder::new().name("kodikon-slow".into()).spawn(run);
        thread.map_err(|error| Failure::Undone(format!("the system gives no thread: {error}")))?;
        loop {
            match done.recv_timeout(LOOK_EVERY) {
                Ok(result) => return Ok(Some(result)),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Failure::Undone("the work ended without a word; please report this".into()));
                }
                Err(RecvTimeoutError::Timeout) if self.is_wanted() => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

/// Does a work on a thread of its own, and asks it to stop when Ctrl-C is pressed; a second Ctrl-C does not wait for it.
pub(super) fn interruptible<T: Send + 'static>(
    work: impl FnOnce(Stop) -> Result<T, Failure> + Send + 'static,
) -> Result<Option<T>, Failure> {
    let undone = |what: &str, error: io::Error| Failure::Undone(format!("the system gives no {what}: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| undone("event loop", error))?;
    // Before the work begins: from then on there is something to leave whole.
    let interrupt = runtime.block_on(async { signal(SignalKind::interrupt()) });
    let mut interrupt = interrupt.map_err(|error| undone("signals", error))?;
    let stop = Stop::default();
    let (told, mut end) = oneshot::channel();
    let asked = stop.clone();
    let begin = move || {
        // An error means that nobody waits any more.
        drop(told.send(work(asked)));
    };
    thread::Builder::new().name("kodikon-work".into()).spawn(begin).map_err(|error| undone("thread", error))?;
    runtime.block_on(async {
        for _ in 0..2 {
            tokio::select! {
                ended = &mut end => {
                    let lost = |_| Failure::Undone("the work ended without a word; please report this".into());
                    return ended.map_err(lost)?.map(Some);
                }
                _ = interrupt.recv() => stop.0.store(true, Ordering::Relaxed),
            }
        }
        Ok(None)
    })
}

/// A bar on stderr, if that is a terminal.
#[derive(Debug)]
pub(super) struct Bar {
    verb: &'static str,
    begun: Instant,
    drawn: Option<Instant>,
    is_seen: bool,
}

impl Bar {
    pub(super) fn new(verb: &'static str) -> Self {
        Self { verb, begun: Instant::now(), drawn: None, is_seen: io::stderr().is_terminal() }
    }

    /// So many are done, and `part` of the whole, from 0 to 1, if that is known.
    pub(super) fn show(&mut self, done: u64, part: Option<f64>) {
        if !self.is_seen || self.drawn.is_some_and(|drawn| drawn.elapsed() < EVERY) {
            return;
        }
        self.drawn = Some(Instant::now());
        let line = picture(self.verb, done, part, self.begun.elapsed());
        // Whoever closed stderr wants no bar.
        let _ = write!(io::stderr(), "\r\x1b[2K{line}");
        let _ = io::stderr().flush();
    }

    /// Takes the bar away.
    pub(super) fn end(self) {
        if self.drawn.is_some() {
            let _ = write!(io::stderr(), "\r\x1b[2K");
        }
    }
}

fn picture(verb: &str, done: u64, part: Option<f64>, spent: Duration) -> String {
    let rate = done as f64 / spent.as_secs_f64().max(0.001);
    let Some(part) = part.map(|part| part.clamp(0.0, 1.0)) else {
        return format!("{verb} {done}, {rate:.0} a second");
    };
    let full = (part * WIDTH as f64) as usize;
    let bar = "#".repeat(full) + &"-".repeat(WIDTH - full);
    format!("{verb} [{bar}] {:3.0} %  {done}, {rate:.0} a second", part * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_slow_is_waited_for_until_the_work_is_to_end() {
        let stop = Stop::default();
        assert_eq!(stop.or(|| 7), Ok(Some(7)));
        stop.0.store(true, Ordering::Relaxed);
        let (_held, never) = channel::<()>();
        assert_eq!(stop.or(move || never.recv()), Ok(None));
    }

    #[test]
    fn a_bar_shows_the_part_that_is_done_and_how_fast_it_grows() {
        let second = Duration::from_secs(1);
        assert_eq!(picture("imported", 7, None, second), "imported 7, 7 a second");
        for (part, expected) in [(0.0, 0), (0.5, 15), (1.0, 30), (7.0, 30)] {
            let shown = picture("imported", 500, Some(part), second * 2);
            assert_eq!(shown.matches('#').count(), expected, "{shown}");
            assert!(shown.ends_with("500, 250 a second"), "{shown}");
        }
    }
}
