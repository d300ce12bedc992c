//! A deterministic network of Kodikon nodes in virtual time: hosts, links, faults, and the checks that watch them.

#![forbid(unsafe_code)]

pub mod agenda;
pub mod chance;
pub mod checks;
pub mod cluster;
pub mod disk;
pub mod faults;
pub mod hostile;
pub mod metrics;
pub mod moment;
pub mod network;
pub mod run;
pub mod scenario;
pub mod trace;
pub mod verify;
pub mod workload;
