//! The ground floor: identifiers, time, limits, configuration and counters that every other room stands on.

pub mod bounded;
pub mod config;
pub mod excess;
pub mod fair;
pub mod id;
pub mod random;
pub mod recent;
pub mod stats;
pub mod table;
pub mod time;
