//! Decides in which order a node comes to life: memory, epoch on disk, sockets, interfaces, and only then the first word.

use std::path::PathBuf;

use kodikon_core::ground::config::Config;
use kodikon_core::ground::id::Epoch;
use kodikon_core::ground::time::Instant;
use kodikon_core::model::identity::{Identity, StrictVerifier};
use kodikon_core::model::state::StateChange;
use kodikon_core::node::{Boot, Node, Saved};

use crate::clock::{Clock as _, SystemClock};
use crate::driver::keeper::Keeper;
use crate::driver::logger::Logger;
use crate::driver::searches::Searching;
use crate::driver::{saved, wall_time};
use crate::mesh::StartError;
use crate::store::{FileStore, LogStore, MemoryLog, MemoryStore, SqliteLog, Store, StoreError};
use crate::sys;

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

/// Where a node keeps everything.
#[derive(Debug)]
pub(crate) struct Stores {
    /// Identity, epoch, state and directory.
    pub(crate) files: Box<dyn Store>,
    /// The log.
    pub(crate) log: Box<dyn LogStore>,
    /// The directory they are in; `None` in memory.
    pub(crate) directory: Option<PathBuf>,
}

/// Opens all that a node keeps.
pub(crate) fn open_stores(home: &Home) -> Result<Stores, StoreError> {
    let files = match home {
        Home::Memory => {
            return Ok(Stores { files: Box::new(MemoryStore::new()), log: Box::new(MemoryLog), directory: None });
        }
        Home::Directory(directory) => FileStore::open(directory)?,
        Home::FirstFree(directory) => FileStore::open_first_free(directory)?,
    };
    // Behind the directory's lock: the log is this process's alone.
    let directory = files.directory().to_owned();
    let log = SqliteLog::open(&directory)?;
    Ok(Stores { files: Box::new(files), log: Box::new(log), directory: Some(directory) })
}

/// The threads beside the loop: one for the files, one for the log, one for scans.
pub(super) fn begin_threads(
    files: Box<dyn Store>,
    log: Box<dyn LogStore>,
) -> std::io::Result<(Keeper, Logger, Searching)> {
    Ok((Keeper::spawn(files)?, Logger::spawn(log)?, Searching::spawn()?))
}

/// A node with its own port, before its first word.
pub(crate) fn make_node(
    clock: &SystemClock,
    stores: &mut Stores,
    config: Config,
    port: u16,
) -> Result<Node, StartError> {
    let mut chance = [0; 36];
    sys::random(&mut chance).map_err(|source| StartError::System { what: "random bytes", source })?;
    let [seed @ .., a, b, c, d] = chance;
    let store = stores.files.as_mut();
    let identity = Identity::from_secret(&store.identity()?.0);
    // On disk before the first datagram: no two runs of a node bear one epoch.
    let epoch = Epoch::new(store.next_epoch()?, u32::from_le_bytes([a, b, c, d]));
    let began = std::time::Instant::now();
    let saved = Saved { log: stores.log.begin()?, ..saved::read(store)? };
    let (rows, read) = (saved.log.rows.len(), began.elapsed());
    let boot =
        Boot { config, identity, epoch, seed, port, wall: wall_time(clock), saved, verifier: Box::new(StrictVerifier) };
    let node = Node::new(Instant::from_start(clock.now()), boot);
    tracing::debug!(rows, ?read, restored = ?began.elapsed(), "the log was read");
    Ok(node)
}
