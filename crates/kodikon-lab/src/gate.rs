//! Decides when what nodes say is read: at once, but while the reading would take the processor from those who are measured.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::{Errno, read, write};

/// What all readers of a fleet pass before they wait for a line. While it is shut none of them waits on a pipe, so that a line
/// wakes nobody; it stays in the pipe.
#[derive(Debug)]
pub(crate) struct Gate {
    is_shut: Mutex<bool>,
    opened: Condvar,
    /// Readable while it is shut: ends the waiting on a pipe.
    shutting: OwnedFd,
}

impl Gate {
    /// An open one.
    pub(crate) fn new() -> Result<Self> {
        let shutting =
            eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).context("the system gives no eventfd")?;
        Ok(Self { is_shut: Mutex::new(false), opened: Condvar::new(), shutting })
    }

    /// Waits until it is open and a pipe has something to read, or has ended.
    pub(crate) fn wait(&self, pipe: impl AsFd) -> Result<()> {
        loop {
            drop(self.opened.wait_while(self.lock(), |is_shut| *is_shut));
            let mut watched = [PollFd::new(&pipe, PollFlags::IN), PollFd::new(&self.shutting, PollFlags::IN)];
            match poll(&mut watched, None) {
                Ok(_) if watched[1].revents().is_empty() => return Ok(()),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error).context("cannot wait for a pipe"),
            }
        }
    }

    /// From here on lines stay in their pipes; a few may be read still.
    pub(crate) fn shut(&self) -> Result<()> {
        *self.lock() = true;
        write(&self.shutting, &1_u64.to_ne_bytes()).map(drop).context("cannot write to an eventfd")
    }

    /// Lines are read again, those first that wait.
    pub(crate) fn open(&self) -> Result<()> {
        read(&self.shutting, &mut [0_u8; 8]).context("cannot read an eventfd")?;
        *self.lock() = false;
        self.opened.notify_all();
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        // Nothing can panic while it is held.
        self.is_shut.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _, pipe};
    use std::sync::Arc;
    use std::sync::mpsc::{RecvTimeoutError, channel};
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_comes_while_it_is_shut_stays_in_the_pipe_until_it_is_open() {
        let gate = Arc::new(Gate::new().unwrap());
        let (mut lines, mut end) = pipe().unwrap();
        let (passed, passes) = channel();
        let reader = Arc::clone(&gate);
        let read = thread::spawn(move || {
            for _ in 0..3 {
                reader.wait(&lines).unwrap();
                lines.read_exact(&mut [0]).unwrap();
                passed.send(()).unwrap();
            }
        });
        end.write_all(b"a").unwrap();
        passes.recv().unwrap();
        for byte in [b"b", b"c"] {
            gate.shut().unwrap();
            end.write_all(byte).unwrap();
            assert_eq!(passes.recv_timeout(Duration::from_millis(20)), Err(RecvTimeoutError::Timeout));
            gate.open().unwrap();
            passes.recv().unwrap();
        }
        read.join().unwrap();
    }
}
