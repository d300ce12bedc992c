//! Decides how connections are accepted: from both listeners in turn, and not at all for a moment when the process has
//! no descriptor left.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Sleep, sleep};

/// After a failed accept; the connection that could not be accepted stays first in line, and trying at once would spin.
const PAUSE: Duration = Duration::from_millis(100);

/// The TCP listeners of a node.
#[derive(Debug)]
pub(crate) struct Listeners {
    listeners: Vec<TcpListener>,
    /// Which one is asked first: they take turns.
    first: usize,
    pause: Option<std::pin::Pin<Box<Sleep>>>,
    failures: u64,
}

impl Listeners {
    pub(super) fn new(listeners: Vec<TcpListener>) -> Self {
        Self { listeners, first: 0, pause: None, failures: 0 }
    }

    /// Returns a connection that somebody has opened to us.
    pub(super) fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<(TcpStream, SocketAddr)> {
        loop {
            if let Some(pause) = &mut self.pause {
                std::task::ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            let mut failed = false;
            for turn in 0..self.listeners.len() {
                let index = (self.first + turn) % self.listeners.len();
                match self.listeners[index].poll_accept(cx) {
                    Poll::Ready(Ok(accepted)) => {
                        self.first = index + 1;
                        return Poll::Ready(accepted);
                    }
                    // It was gone before it was accepted, which is none of our trouble: the next call sees the next
                    // one.
                    Poll::Ready(Err(error)) if is_about_the_connection(&error) => {
                        self.failures += 1;
                        cx.waker().wake_by_ref();
                    }
                    Poll::Ready(Err(error)) => {
                        self.failures += 1;
                        failed = true;
                        if self.failures.is_power_of_two() {
                            tracing::warn!(%error, failures = self.failures, "connection not accepted");
                        }
                    }
                    Poll::Pending => {}
                }
            }
            if !failed {
                return Poll::Pending;
            }
            self.pause = Some(Box::pin(sleep(PAUSE)));
        }
    }
}

/// accept(2): "already-pending network errors on the new socket".
fn is_about_the_connection(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNABORTED
                | libc::ENETDOWN
                | libc::EPROTO
                | libc::ENOPROTOOPT
                | libc::EHOSTDOWN
                | libc::ENONET
                | libc::EHOSTUNREACH
                | libc::EOPNOTSUPP
                | libc::ENETUNREACH
        )
    )
}
