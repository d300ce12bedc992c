//! Decides how a node's events reach stdout: into a pipe that has room at once, on the node's loop, since the waking of a thread costs more
//! than the line; otherwise on a thread of its own, so that whoever reads slowly holds up nobody but himself.

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use kodikon::EventStream;
use kodikon::api::{Event, Started};
use rustix::io::{Errno, ReadWriteFlags, pwritev2};
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
        if let Some(mut pipe) = Pipe::of(io::stdout()) {
            let turn = Arc::clone(&turn);
            events.take_on_loop(move |event| turn.try_lock().is_ok_and(|_turn| pipe.takes(event, json)));
        }
        while events.wait_for(1).await {
            let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
            let lines = lines(|| events.try_next(), json, AT_ONCE);
            if !print::line(&lines.join("\n")).unwrap_or(false) {
                break;
            }
        }
        drop(done);
    };
    let spawned = thread::Builder::new().name("kodikon-print".into()).spawn(move || runtime.block_on(print_all));
    spawned.map_err(|error| Failure::Undone(format!("the system gives no thread: {error}")))?;
    Ok(printed)
}

/// A pipe into which lines go that have room there at once.
struct Pipe {
    end: OwnedFd,
    /// The system has said that it cannot tell whether a write would wait: Linux before 6.4 of any pipe, and later of one with a name.
    is_mute: bool,
}

impl Pipe {
    /// The pipe that this is.
    fn of(file: impl AsFd) -> Option<Self> {
        let file = File::from(file.as_fd().try_clone_to_owned().ok()?);
        let is_pipe = file.metadata().is_ok_and(|what| what.file_type().is_fifo());
        is_pipe.then(|| Self { end: file.into(), is_mute: false })
    }

    /// Writes an event's line; `false` if that would take time, or cannot be.
    fn takes(&mut self, event: &Event, json: bool) -> bool {
        if self.is_mute {
            return false;
        }
        // What is too long is found to be so before it costs anything.
        let mut line = Bounded(Vec::with_capacity(512));
        if serde_json::to_writer(&mut line, event).is_err() {
            return false;
        }
        let mut line = line.0;
        if !json {
            line = event_line::human(&String::from_utf8_lossy(&line)).into_bytes();
        }
        line.push(b'\n');
        if line.len() > PIPE_BUF {
            return false;
        }
        match pwritev2(&self.end, &[IoSlice::new(&line)], NEXT, ReadWriteFlags::NOWAIT) {
            Ok(_) => true,
            Err(Errno::AGAIN | Errno::INTR | Errno::PIPE) => false,
            Err(_) => {
                self.is_mute = true;
                false
            }
        }
    }
}

/// Takes as much as a pipe does as a whole.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > PIPE_BUF {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The events that are there, as lines, up to so many bytes and one more.
fn lines(mut next: impl FnMut() -> Option<Arc<Event>>, json: bool, max_bytes: usize) -> Vec<String> {
    let (mut lines, mut bytes) = (Vec::new(), 0);
    while bytes < max_bytes
        && let Some(event) = next()
    {
        let line = text(&*event);
        let line = if json { line } else { event_line::human(&line) };
        bytes += line.len();
        lines.push(line);
    }
    lines
}

fn text(told: &impl serde::Serialize) -> String {
    serde_json::to_string(told).expect("it has no keys but strings")
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::io::Read as _;

    use kodikon::api::What;

    use super::*;

    fn event(reason: impl Into<String>) -> Event {
        Event::new(0.0, What::Isolated { isolated: true, reason: reason.into() })
    }

    #[test]
    fn what_is_there_is_printed_at_once_and_no_more_than_is_taken() {
        let mut there: VecDeque<Arc<Event>> = (0..5).map(|n| Arc::new(event(n.to_string()))).collect();
        let all: Vec<String> = there.iter().map(|event| text(&**event)).collect();
        let of_two = all[0].len() + 1;
        for expected in [&all[..2], &all[2..4], &all[4..], &[]] {
            assert_eq!(lines(|| there.pop_front(), true, of_two), expected);
        }
    }

    /// Whether the system's pipes can say that they have no room: since Linux 6.4.
    fn knows_of_room() -> bool {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
        numbers.next().zip(numbers.next()) >= Some((6, 4))
    }

    #[test]
    fn a_pipe_takes_whole_lines_as_long_as_it_has_room_and_is_read() {
        let (mut reader, writer) = io::pipe().expect("a pipe");
        let mut pipe = Pipe::of(&writer).expect("it is one");
        let taken = (0..10_000).take_while(|n| pipe.takes(&event(n.to_string()), true)).count();
        if pipe.is_mute && !knows_of_room() {
            // All lines go by the thread.
            return assert_eq!(taken, 0);
        }
        assert!((100..10_000).contains(&taken), "{taken} until it was full");
        let empty = text(&event("")).len() + 1;
        for (bytes, fits) in [(PIPE_BUF, true), (PIPE_BUF + 1, false)] {
            let mut room = vec![0; 3 * PIPE_BUF];
            reader.read_exact(&mut room).expect("it is full");
            assert_eq!(pipe.takes(&event("x".repeat(bytes - empty)), true), fits, "{bytes} bytes");
        }
        assert!(pipe.takes(&event("human"), false));
        drop(writer);
        drop(pipe);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).expect("text");
        assert!(rest.ends_with('\n') && rest.contains("isolated"), "{rest:?}");
        let longest = rest.lines().map(str::len).max();
        assert_eq!(longest, Some(PIPE_BUF - 1), "a line is whole");
    }

    #[test]
    fn what_nobody_reads_is_not_taken_and_a_file_is_no_pipe() {
        let (reader, writer) = io::pipe().expect("a pipe");
        let mut pipe = Pipe::of(&writer).expect("it is one");
        pipe.takes(&event("read"), true);
        let was_mute = pipe.is_mute;
        drop(reader);
        assert!(!pipe.takes(&event("x"), true));
        assert_eq!(pipe.is_mute, was_mute, "that nobody reads says nothing of the system");
        assert!(Pipe::of(File::open("/dev/null").expect("it is there")).is_none());
    }
}
