//! The bytes between nodes: frames, how they are sealed, and the messages inside.

pub mod cast;
pub mod clock;
pub mod codec;
pub mod compress;
pub mod cover;
pub mod fragments;
pub mod header;
pub mod json;
pub mod letter;
pub mod message;
pub mod seal;
pub mod search;
