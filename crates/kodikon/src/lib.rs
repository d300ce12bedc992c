//! The library: what an embedder links to make its program a node of a Kodikon mesh.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use kodikon::{EventKind, Mesh};
//! use serde_json::json;
//!
//! let mesh = Mesh::builder("node_001").data_dir("/var/lib/kodikon").state(json!({"status": "active"})).start().await?;
//! mesh.on(EventKind::PeerFailed, |event| eprintln!("a camera is gone: {event:?}"))?;
//! mesh.set_state(json!({"processing_fps": 29.7, "battery_level": 80}))?;
//! for peer in mesh.peers() {
//!     println!("{} {:?} {:?}", peer.name(), peer.state(), mesh.state(peer.name()));
//! }
//! mesh.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! | name in the Python original | here |
//! |---|---|
//! | `MeshProtocol("node_001").start({…})` | [`Mesh::builder`]`("node_001").state({…}).start()` |
//! | `stop()` | [`Mesh::shutdown`] |
//! | `discover_peers()` | [`Mesh::peers`] |
//! | `PeerInfo`, `is_alive()`, last heartbeat | [`Peer`], [`Peer::is_alive`], [`Peer::last_heard`] |
//! | `update_node_state({…})` | [`Mesh::set_state`] |
//! | `send_message()` | [`Mesh::send`] |
//! | `broadcast_message()` | [`Mesh::broadcast`] |
//! | `broadcast_search_query()` | [`Mesh::search`] |
//! | `get_network_stats()` | [`Mesh::stats`] |
//! | `add_hash()`, `HashRegistry` | [`Mesh::add`], [`Mesh::get`], [`Mesh::find`], [`Mesh::delete`] |
//! | `RegistrationRecord` | [`Record::registration`] |
//! | `broadcast_alert({…})` | [`Mesh::alert`]`({…}).send()` |
//! | message handlers | [`Mesh::on`], [`Mesh::on_inline`], [`Mesh::events`] |
#![deny(unsafe_code)]

pub mod api;
mod clock;
pub mod decode;
pub mod doctor;
mod driver;
mod events;
mod handlers;
mod interfaces;
mod mesh;
pub mod mesh_key;
pub mod settings;
mod socket;
mod spelling;
mod store;
mod sys;
#[cfg(test)]
mod testing;
mod topic;

pub use driver::urgency::wake_promptly;
pub use events::{EVENTS_KEPT, EventKind, EventStream};
pub use handlers::{HANDLER_QUEUE, HANDLERS_MAX};
pub use kodikon_core::ground::config::Profile;
pub use kodikon_core::ground::id::NodeId;
pub use kodikon_core::model::letter::Priority;
pub use kodikon_core::model::state::StateError;
pub use kodikon_core::wire::json::MessageType;
pub use kodikon_scan::{Dtype, ValueError};
pub use mesh::{
    Alert, AlertError, AlertHandle, Announced, Broadcast, Builder, CONDITIONS_MOST, FOUND_DEFAULT, Filter, Found,
    Letter, Mesh, MeshError, Outcome, PAYLOAD_DEPTH, PAYLOAD_KEYS, Peer, Portrait, Query, RECORD_TTL_LEAST,
    RECORD_TTL_MOST, Receipt, Record, RecordError, Route, SEARCH_K_MOST, SEARCH_LEAST, SEARCH_MOST, SEND_BYTES_WAITING,
    SENDS_WAITING, Search, SearchError, SendError, StartError, TIMEOUT_LEAST, TIMEOUT_MOST, TTL_LEAST, TTL_MOST,
};
pub use socket::{Family, Holder, OpenError};
pub use store::StoreError;
pub use sys::unmap_idle_program;
pub use topic::Topic;
