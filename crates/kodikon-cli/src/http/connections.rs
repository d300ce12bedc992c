//! How many connections the API holds at once, and for how long one may hold its place without asking anything.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// How long to wait where the system has no descriptor left.
const OUT_OF_FILES: Duration = Duration::from_millis(100);

/// What callers may use up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Connections at once; the next caller waits for one of them to end.
    pub(super) connections: u32,
    /// A connection whose next request has not arrived by then, headers whole, is closed: whoever opens many and says
    /// nothing, or a byte now and then, must not shut everybody else out.
    pub(super) headers_within: Duration,
}

impl Limits {
    /// Scripts, a scraper and some pages: a fleet's tools are far below 256. Callers of this machine send their headers in
    /// one piece within a millisecond; 5 s are for one that is suspended in between.
    pub(super) const USUAL: Self = Self { connections: 256, headers_within: Duration::from_secs(5) };
}

/// Serves until `end` comes true, and then until every connection has had its answer.
pub(super) async fn serve(listener: TcpListener, router: Router, limits: Limits, end: impl Future<Output = ()>) {
    let free = Arc::new(Semaphore::new(limits.connections as usize));
    let ending = watch::Sender::new(false);
    let mut end = pin!(end);
    loop {
        let next = async {
            let place = Arc::clone(&free).acquire_owned().await.expect("the semaphore is never closed");
            (place, accept(&listener).await)
        };
        let (place, stream) = tokio::select! {
            next = next => next,
            () = &mut end => break,
        };
        tokio::spawn(hold(stream, router.clone(), limits, ending.subscribe(), place));
    }
    drop(listener);
    ending.send_replace(true);
    // Every place is free once every connection has ended.
    let _ = free.acquire_many(limits.connections).await;
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            // A caller that went away at once, or no descriptor left: neither ends the API.
            Err(error) => {
                tracing::debug!(%error, "a connection to the API was lost");
                tokio::time::sleep(OUT_OF_FILES).await;
            }
        }
    }
}

/// Serves one connection, which keeps its place for as long.
async fn hold(
    stream: TcpStream,
    router: Router,
    limits: Limits,
    mut ending: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
) {
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(limits.headers_within);
    let mut connection = pin!(server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)));
    let is_ending = async {
        // An error means that the server is gone: it ends, too.
        let _ = ending.wait_for(|ending| *ending).await;
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = is_ending => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = %io::Error::other(error), "a connection to the API has ended early");
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const FEW: Limits = Limits { connections: 3, headers_within: Duration::from_millis(300) };

    async fn served() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let router = Router::new().route("/", get(|| async { "here" }));
        tokio::spawn(serve(listener, router, FEW, std::future::pending()));
        address
    }

    async fn ask(address: SocketAddr) -> String {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        answer
    }

    #[tokio::test]
    async fn silent_and_slow_callers_lose_their_places_to_others() {
        let address = served().await;
        let mut callers = Vec::new();
        for _ in 0..FEW.connections {
            callers.push(TcpStream::connect(address).await.expect("it listens"));
        }
        // One sends a piece now and then, which must not count as progress.
        let mut slow = callers.pop().expect("there are three");
        tokio::spawn(async move {
            while slow.write_all(b"G").await.is_ok() {
                tokio::time::sleep(FEW.headers_within / 5).await;
            }
        });
        // Beyond the places of all of them: three times over.
        for _ in 0..3 * FEW.connections {
            let answer = tokio::time::timeout(FEW.headers_within * 20, ask(address)).await;
            assert!(answer.as_ref().is_ok_and(|text| text.ends_with("here")), "{answer:?}");
        }
    }
}
