//! The machines: each decides one thing, none knows another; what one must tell another goes through `Node`.

pub mod alerts;
pub mod broadcast;
pub mod discovery;
pub mod liveness;
pub mod membership;
pub mod messages;
pub mod registry;
pub mod replication;
pub mod routing;
pub mod shaper;
