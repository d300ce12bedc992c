//! The library: what an embedder links.

pub mod api;
pub mod settings;
