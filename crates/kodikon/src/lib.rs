//! The library: what an embedder links.
#![deny(unsafe_code)]

pub mod api;
pub mod clock;
pub mod doctor;
mod driver;
mod events;
mod handlers;
pub mod interfaces;
mod mesh;
pub mod mesh_key;
pub mod settings;
pub mod socket;
pub mod store;
mod sys;
#[cfg(test)]
mod testing;

pub use events::{EVENTS_KEPT, EventKind, EventStream};
pub use handlers::{HANDLER_QUEUE, HANDLERS_MAX};
pub use kodikon_core::ground::config::Profile;
pub use kodikon_core::ground::id::NodeId;
pub use mesh::{Builder, Mesh, MeshError, Peer, StartError};
