//! The library: what an embedder links.
#![deny(unsafe_code)]

pub mod api;
pub mod clock;
pub mod interfaces;
pub mod mesh_key;
pub mod settings;
pub mod socket;
pub mod store;
mod sys;
#[cfg(test)]
mod testing;
