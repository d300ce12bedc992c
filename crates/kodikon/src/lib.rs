//! The library: what an embedder links.
#![deny(unsafe_code)]

pub mod clock;
pub mod interfaces;
pub mod socket;
pub mod store;
mod sys;
#[cfg(test)]
mod testing;
