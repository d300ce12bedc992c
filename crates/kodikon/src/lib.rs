//! The library: what an embedder links.

pub mod api;
pub mod doctor;
pub mod mesh_key;
pub mod settings;
