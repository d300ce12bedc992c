//! The local HTTP API: which paths there are, who may call them, and how the server starts and ends.
//!
//! It is for programs of this machine: it listens on the loopback only, every caller shows the token from `api.json` (or, for the
//! metrics alone, that from `metrics.token`), and a browser is let in from no page but the node's own. `/healthz` and `/readyz` tell nothing and need no token.

use std::fmt;
use std::future::{Future, ready};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{get, post};
use kodikon::settings::ApiAddress;
use tokio::net::TcpListener;

mod alerts;
mod body;
mod connections;
mod events;
mod guard;
mod handlers;
mod messages;
mod metrics;
mod openapi;
mod problem;
mod records;
mod search;
mod view;

#[cfg(test)]
mod tests;

use self::connections::Limits;
pub(crate) use self::events::EventRing;
pub(crate) use self::guard::Token;
pub(crate) use self::view::{NodeView, ViewError};

/// The largest body of a request.
const MAX_BODY: usize = 1 << 20;
/// The port that is tried first.
const FIRST_PORT: u16 = 8_888;
/// As many nodes as find ports of their own on one machine find one for their API.
const PORTS_TRIED: u16 = 64;

/// Why the API does not listen.
#[derive(Debug)]
pub(crate) enum BindError {
    /// The port that was asked for is not to be had.
    Given(SocketAddr, io::Error),
    /// None of the ports that are tried in turn is to be had.
    Auto(io::Error),
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(address, error) if error.kind() == io::ErrorKind::AddrInUse => {
                write!(
                    f,
                    "the API's address {address} is taken by another program: stop it, or name another with --api ADDR"
                )
            }
            Self::Given(address, error) => write!(f, "the API cannot listen on {address}: {error}"),
            Self::Auto(error) => write!(
                f,
                "the API finds no free port from {FIRST_PORT} to {}: {error}. Name one with --api ADDR, or go without: --api none",
                FIRST_PORT + PORTS_TRIED - 1
            ),
        }
    }
}

/// Takes the API's port; none where no API is wanted.
pub(crate) async fn bind(address: ApiAddress) -> Result<Option<TcpListener>, BindError> {
    let given = match address {
        ApiAddress::None => return Ok(None),
        ApiAddress::At(address) => Some(address),
        ApiAddress::Auto | _ => None,
    };
    if let Some(address) = given {
        return TcpListener::bind(address).await.map(Some).map_err(|error| BindError::Given(address, error));
    }
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for port in FIRST_PORT..FIRST_PORT + PORTS_TRIED {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
            Ok(listener) => return Ok(Some(listener)),
            Err(error) => last = error,
        }
    }
    Err(BindError::Auto(last))
}

/// What every handler works with.
#[derive(Debug)]
pub(crate) struct Api<N> {
    /// The node.
    pub(crate) node: N,
    /// Its events.
    pub(crate) events: EventRing,
    /// What callers must show, new at every start.
    pub(crate) token: Token,
    /// What opens the metrics alone, where one is kept.
    pub(crate) metrics_token: Option<Token>,
}

/// Serves until `end` comes true; streams of events end with the ring that feeds them.
pub(crate) async fn serve<N: NodeView>(
    listener: TcpListener,
    api: Arc<Api<N>>,
    end: impl Future<Output = ()> + Send + 'static,
) {
    let events = api.events.clone();
    let end = async move {
        end.await;
        events.close();
    };
    connections::serve(listener, router(api, body::WITHIN), Limits::USUAL, end).await;
}

fn router<N: NodeView>(api: Arc<Api<N>>, body_within: Duration) -> Router {
    Router::new()
        .route("/v1/peers", get(handlers::peers::<N>))
        .route("/v1/peers/{name}", get(handlers::peer::<N>))
        .route("/v1/routes", get(handlers::routes::<N>))
        .route("/v1/state", get(handlers::states::<N>).patch(handlers::change_state::<N>))
        .route("/v1/state/{name}", get(handlers::state::<N>).patch(handlers::change_named_state::<N>))
        .route("/v1/messages", post(messages::send::<N>))
        .route("/v1/broadcasts", post(messages::broadcast::<N>))
        .route("/v1/alerts", get(alerts::list::<N>).post(alerts::raise::<N>))
        .route("/v1/alerts/{id}/ack", post(alerts::acknowledge::<N>))
        .route("/v1/records", get(records::find::<N>).post(records::add::<N>))
        .route("/v1/records/{hash}", get(records::get::<N>).delete(records::delete::<N>))
        .route("/v1/search", post(search::search::<N>))
        .route("/v1/events", get(events::stream::<N>))
        .route("/v1/stats", get(handlers::stats::<N>))
        .route("/v1/doctor", get(handlers::doctor::<N>))
        .route("/metrics", get(handlers::metrics::<N>))
        .route("/healthz", get(handlers::health::<N>))
        .route("/readyz", get(handlers::ready::<N>))
        .route("/openapi.json", get(openapi::document))
        .fallback(handlers::no_such_path)
        .method_not_allowed_fallback(handlers::no_such_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::map_request(move |request| ready(body::in_time(request, body_within))))
        .layer(middleware::from_fn_with_state(Arc::clone(&api), guard::check::<N>))
        .with_state(api)
}
