//! Decides in which order a node comes to life: memory, epoch on disk, sockets, interfaces, and only then the first word.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use kodikon_core::ground::config::Config;
use kodikon_core::ground::id::Epoch;
use kodikon_core::ground::time::Instant;
use kodikon_core::model::identity::{Identity, StrictVerifier};
use kodikon_core::model::state::StateChange;
use kodikon_core::node::{Boot, Node};

use crate::clock::{Clock as _, SystemClock};
use crate::driver::{saved, wall_time};
use crate::mesh::StartError;
use crate::store::{FileStore, MemoryStore, Store, StoreError};
use crate::sys;

/// Names of configured peers that take longer to resolve are left out: a mesh must not wait for a DNS server.
const RESOLVE_WITHIN: Duration = Duration::from_secs(2);
/// Addresses tried of one name.
const ADDRESSES_A_NAME: usize = 4;

/// Where a node keeps its identity and state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Home {
    /// In this directory.
    Directory(PathBuf),
    /// In this directory, or the first free of `-2`, `-3`… beside it.
    FirstFree(PathBuf),
    /// Nowhere.
    Memory,
}

/// Everything a node is started with, checked.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) config: Config,
    pub(crate) peers: Vec<String>,
    pub(crate) interfaces: Vec<String>,
    pub(crate) home: Home,
    pub(crate) state: Vec<StateChange>,
    pub(crate) max_peers_origin: Option<String>,
}

/// A store, and the directory it keeps things in.
pub(crate) fn open_store(home: &Home) -> Result<(Box<dyn Store>, Option<PathBuf>), StoreError> {
    let store = match home {
        Home::Memory => return Ok((Box::new(MemoryStore::new()), None)),
        Home::Directory(directory) => FileStore::open(directory)?,
        Home::FirstFree(directory) => FileStore::open_first_free(directory)?,
    };
    let directory = store.directory().to_owned();
    Ok((Box::new(store), Some(directory)))
}

/// A node with its own port, before its first word.
pub(crate) fn make_node(
    clock: &SystemClock,
    store: &mut dyn Store,
    config: Config,
    port: u16,
) -> Result<Node, StartError> {
    let mut chance = [0; 36];
    sys::random(&mut chance).map_err(|source| StartError::System { what: "random bytes", source })?;
    let [seed @ .., a, b, c, d] = chance;
    let identity = Identity::from_secret(&store.identity()?.0);
    // On disk before the first datagram: no two runs of a node bear one epoch.
    let epoch = Epoch::new(store.next_epoch()?, u32::from_le_bytes([a, b, c, d]));
    let saved = saved::read(store)?;
    let boot =
        Boot { config, identity, epoch, seed, port, wall: wall_time(clock), saved, verifier: Box::new(StrictVerifier) };
    Ok(Node::new(Instant::from_start(clock.now()), boot))
}

/// The addresses of configured peers, and the names that none was found for in time.
pub(crate) fn resolve(peers: &[String]) -> (Vec<SocketAddr>, Vec<String>) {
    let (numbers, names): (Vec<&String>, Vec<&String>) =
        peers.iter().partition(|peer| peer.parse::<SocketAddr>().is_ok());
    let mut found: Vec<SocketAddr> = numbers.into_iter().filter_map(|peer| peer.parse().ok()).collect();
    let mut missing: Vec<String> = names.into_iter().cloned().collect();
    if missing.is_empty() {
        return (found, missing);
    }
    let (answers, answer) = mpsc::channel();
    let asked = missing.clone();
    // It may hang in the resolver for a minute; then nobody listens to it any more.
    let resolver = std::thread::Builder::new().name("kodikon-resolver".into()).spawn(move || {
        for name in asked {
            let addresses: Vec<SocketAddr> =
                name.to_socket_addrs().map(|all| all.take(ADDRESSES_A_NAME).collect()).unwrap_or_default();
            if answers.send((name, addresses)).is_err() {
                return;
            }
        }
    });
    let until = std::time::Instant::now() + RESOLVE_WITHIN;
    if resolver.is_ok() {
        while let Ok((name, addresses)) =
            answer.recv_timeout(until.saturating_duration_since(std::time::Instant::now()))
        {
            if !addresses.is_empty() {
                missing.retain(|missing| *missing != name);
                found.extend(addresses);
            }
        }
    }
    for name in &missing {
        tracing::warn!(%name, "configured peer not found: its name has no address; write its address, or mend the name service");
    }
    (found, missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_as_they_are_and_names_are_looked_up() {
        let (found, missing) = resolve(&["10.0.0.1:9999".to_owned(), "[fd00::1]:10000".to_owned()]);
        assert_eq!((found.len(), missing.len()), (2, 0));
        let (found, missing) = resolve(&["localhost:9999".to_owned(), "10.0.0.1:1".to_owned()]);
        assert!(found.iter().any(|address| address.ip().is_loopback() && address.port() == 9_999), "{found:?}");
        assert!(missing.is_empty());
    }

    #[test]
    fn a_name_without_an_address_is_told() {
        let (found, missing) = resolve(&["no-such-host.invalid:9999".to_owned()]);
        assert_eq!((found.len(), missing.len()), (0, 1));
    }
}
