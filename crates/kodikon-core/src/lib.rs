//! The core of Kodikon mesh: a function of its inputs. It has no socket, clock, thread, file, lock or global chance;
//! whoever drives it hands in what happened and carries out what it wants. `ARCHITECTURE.md` is the map.
#![forbid(unsafe_code)]

pub mod effect;
pub mod ground;
pub mod machines;
pub mod model;
pub mod node;
pub mod wire;
