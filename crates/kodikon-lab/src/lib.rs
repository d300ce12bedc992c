//! Test hosts in network namespaces: several machines on one or more LAN segments, with faults, on one Linux computer.
//!
//! ```no_run
//! use kodikon_lab::{Cut, Host, Lab, Topology};
//!
//! # fn main() -> anyhow::Result<()> {
//! let lab = Lab::up("demo", &Topology::new().segment("a", 1..=3).segment("b", [3, 4]))?;
//! lab.loss("a", 20.0)?; // percent of frames dropped at random, per receiver
//! lab.cut("a", Cut::OneWay { from: Host(1), to: Host(2) })?;
//! lab.carrier("a", Host(1), false)?; // the cable is pulled
//! # Ok(())
//! # }
//! ```
//!
//! Everything stays inside the namespaces, and everything is gone when the [`Lab`] is dropped, also by a panic; what a
//! killed program left behind is removed by the next lab that comes up. One thing remains: the kernel's limit of
//! hardware addresses, which is one for all namespaces, stays raised where a large lab needed more. Needs root,
//! iproute2 and nftables: [`Lab::available`] says what is missing.

mod access;
mod alert_mesh;
mod claim;
mod counters;
mod distribution;
mod embeddings;
mod event;
mod faults;
mod fleet;
mod gate;
mod lab;
mod neighbours;
mod netns;
mod process;
mod story;
mod topology;

pub use access::ApiAccess;
pub use alert_mesh::{AlertMesh, AlertTimes};
pub use claim::{Alone, alone};
pub use counters::{Traffic, Usage};
pub use distribution::{Distribution, Figures};
pub use embeddings::write_embeddings;
pub use event::{Elapsed, Event, Kind, Moment};
pub use faults::{Cut, Loss};
pub use fleet::{Api, Fleet, NodeSpec, Program, Sample};
pub use lab::Lab;
pub use process::{Finished, Line, Process};
pub use story::{Seen, Story};
pub use topology::{Host, Topology};
