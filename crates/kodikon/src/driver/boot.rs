//! Decides in which order a node comes to life: memory, epoch on disk, sockets, interfaces, and only then the first word.

use std::path::PathBuf;
use std::sync::mpsc::sync_channel;

use kodikon_core::ground::config::Config;
use kodikon_core::ground::id::Epoch;
use kodikon_core::ground::time::Instant;
use kodikon_core::model::identity::{Identity, Zip215Verifier};
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

/// Parts of the log that are read ahead of the node: 512 rows each.
const ROWS_WAITING: usize = 4;

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
    let secret = store.identity()?;
    let id = Identity::from_secret(&secret.0).id();
    // On disk before the first datagram: no two runs of a node bear one epoch.
    let epoch = Epoch::new(store.next_epoch()?, u32::from_le_bytes([a, b, c, d]));
    let began = std::time::Instant::now();
    loop {
        let boot = Boot {
            config: config.clone(),
            identity: Identity::from_secret(&secret.0),
            epoch,
            seed,
            port,
            wall: wall_time(clock),
            saved: Saved { log: stores.log.begin()?, ..saved::read(stores.files.as_mut(), (id, &config.node_name))? },
            verifier: Box::<Zip215Verifier>::default(),
        };
        let now = Instant::from_start(clock.now());
        let mut node = Node::new(now, boot);
        if restore(now, &mut node, stores.log.as_mut())? {
            tracing::debug!(records = node.registry().records, took = ?began.elapsed(), "the log was read");
            return Ok(node);
        }
        // A damaged log lies aside, and the next one is empty.
    }
}

/// Takes in what the log holds while it is being read: a restart has little more time than either takes. `false`: it is damaged.
fn restore(now: Instant, node: &mut Node, log: &mut dyn LogStore) -> Result<bool, StartError> {
    let (hand, handed) = sync_channel(ROWS_WAITING);
    std::thread::scope(|scope| {
        // An error means that the node's end was dropped, which it is at the end of this scope alone.
        let read = move || log.rows(&mut |rows| _ = hand.send(rows));
        let reading = std::thread::Builder::new().name("kodikon-read".into()).spawn_scoped(scope, read);
        let reading = reading.map_err(|source| StartError::System { what: "a thread", source })?;
        handed.into_iter().for_each(|rows| node.restore(now, rows));
        match reading.join() {
            Ok(read) => Ok(read?),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
