//! Decides how a node's events reach stdout: into a pipe that has room at once, on the node's loop, since the waking of a thread costs more
//! than the line; otherwise on a thread of its own, so that whoever reads slowly holds up nobody but himself.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileTypeExt as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;

use futures_core::Stream;
use kodikon::EventStream;
use kodikon::api::{Event, Started};
use rustix::io::{ReadWriteFlags, pwritev2};
use tokio::sync::oneshot;

use crate::outcome::Failure;
use crate::{event_line, print};

/// Bytes of lines that are written together: as many as a pipe holds.
const AT_ONCE: usize = 65_536;
/// So many bytes go into a pipe as a whole or not at all (`PIPE_BUF` of Linux, pipe(7)).
const PIPE_BUF: usize = 4_096;
/// Where a file has no places, its next one (pwritev2(2): -1).
const NEXT: u64 = u64::MAX;

/// Prints the first line and then events. What is returned ends when all is printed, or nobody reads it.
pub(crate) fn spawn(json: bool, started: &Started, mut events: EventStream) -> Result<oneshot::Receiver<()>, Failure> {
    let first = json.then(|| text(started));
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.map_err(|error| Failure::Undone(format!("the system gives no event loop: {error}")))?;
    let (done, printed) = oneshot::channel::<()>();
    let print_all = async move {
        // Nobody reads any more, now or later: the node lives on.
        if first.is_some_and(|line| !print::line(&line).unwrap_or(false)) {
            return;
        }
        // Held by whoever has events that are not printed yet.
        let turn = Arc::new(Mutex::new(()));
        if stdout_is_pipe() {
            let turn = Arc::clone(&turn);
            events.take_on_loop(move |event| turn.try_lock().is_ok_and(|_turn| pipe(&shown(event, json))));
        }
        while events.has(1).await {
            let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
            if !print::line(&lines(&mut events, json, AT_ONCE).join("\n")).unwrap_or(false) {
                break;
            }
        }
        drop(done);
    };
    let spawned = thread::Builder::new().name("kodikon-print".into()).spawn(move || runtime.block_on(print_all));
    spawned.map_err(|error| Failure::Undone(format!("the system gives no thread: {error}")))?;
    Ok(printed)
}

fn stdout_is_pipe() -> bool {
    let stdout = io::stdout().as_fd().try_clone_to_owned().map(File::from);
    stdout.and_then(|file| file.metadata()).is_ok_and(|what| what.file_type().is_fifo())
}

/// Writes a line into the pipe that stdout is; `false` if that would take time, or cannot be.
fn pipe(line: &str) -> bool {
    let line = format!("{line}\n");
    let written = || pwritev2(io::stdout(), &[IoSlice::new(line.as_bytes())], NEXT, ReadWriteFlags::NOWAIT);
    line.len() <= PIPE_BUF && written().is_ok()
}

/// The next event, if it is there already.
pub(crate) fn now(events: &mut (impl Stream<Item = Event> + Unpin)) -> Option<Event> {
    match Pin::new(events).poll_next(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(event) => event,
        Poll::Pending => None,
    }
}

/// The events that are there, as lines, up to so many bytes and one more.
fn lines(events: &mut (impl Stream<Item = Event> + Unpin), json: bool, max_bytes: usize) -> Vec<String> {
    let (mut lines, mut bytes) = (Vec::new(), 0);
    while bytes < max_bytes
        && let Some(event) = now(events)
    {
        let line = shown(&event, json);
        bytes += line.len();
        lines.push(line);
    }
    lines
}

fn shown(event: &Event, json: bool) -> String {
    let line = text(event);
    if json { line } else { event_line::human(&line) }
}

fn text(told: &impl serde::Serialize) -> String {
    serde_json::to_string(told).expect("it has no keys but strings")
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use kodikon::api::What;

    use super::*;

    struct There(VecDeque<Event>);

    impl Stream for There {
        type Item = Event;

        fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Event>> {
            Poll::Ready(self.0.pop_front())
        }
    }

    #[test]
    fn what_is_there_is_printed_at_once_and_no_more_than_is_taken() {
        let events = (0..5).map(|n| Event::new(0.0, What::Isolated { isolated: true, reason: n.to_string() }));
        let mut there = There(events.collect());
        let all: Vec<String> = there.0.iter().map(text).collect();
        let of_two = all[0].len() + 1;
        for expected in [&all[..2], &all[2..4], &all[4..], &[]] {
            assert_eq!(lines(&mut there, true, of_two), expected);
        }
    }
}
