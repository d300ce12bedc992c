//! Decides what can be set: one checked `Config`, each knob with its unit, its default and where that comes from.

use core::time::Duration;
use std::net::SocketAddr;

use zeroize::Zeroizing;

use crate::ground::id::MeshId;

/// What a node is told before it starts. Parsed and checked once by the caller; nobody validates later.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// Fleets with different names never meet. Default `kodikon`.
    pub mesh_name: String,
    /// What people call this node; an attribute, not its identity.
    pub node_name: String,
    /// Who may join.
    pub security: Security,
    /// Who may delete a record; part of the mesh id, so nodes of different policy never meet.
    pub deletes: Deletes,
    /// Between two beacons. Default 5 s, the seed's `broadcast_interval`.
    pub broadcast_interval: Duration,
    /// How often each observer hears this node; the node sends five times as often. Default 5 s, the seed's heartbeat.
    pub heartbeat_interval: Duration,
    /// Silence that ends in FAILED whatever else is true. Default 30 s, the seed's `heartbeat_timeout`.
    pub heartbeat_timeout: Duration,
    /// Peers held at once; one more is refused and counted. Default 4,096, in an open mesh 256.
    pub max_peers: usize,
    /// Relays on the way of a message at most, 1 to 15. Default 5: the seed's `max_hops`.
    pub max_hops: u8,
    /// How patient suspicion is.
    pub profile: Profile,
    /// The port on which the nodes of a LAN find each other. Default 9999, the seed's `udp_port`.
    pub discovery_port: u16,
    /// Where else to look for the mesh: peers that no multicast reaches.
    pub peers: Vec<SocketAddr>,
    /// Version of the program, shown to others.
    pub version: String,
}

impl Config {
    /// The defaults, for a node of this name.
    #[must_use]
    pub fn new(node_name: &str) -> Self {
        Self {
            mesh_name: "kodikon".to_owned(),
            node_name: node_name.to_owned(),
            security: Security::Open,
            deletes: Deletes::All,
            broadcast_interval: Duration::from_secs(5),
            heartbeat_interval: Duration::from_secs(5),
            heartbeat_timeout: Duration::from_secs(30),
            max_peers: MAX_PEERS_OPEN,
            max_hops: 5,
            profile: Profile::Lan,
            discovery_port: 9999,
            peers: Vec::new(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// The key that all members share: from the mesh key, or in an open mesh from its name.
    #[must_use]
    pub fn group_key(&self) -> Zeroizing<[u8; 32]> {
        let material = match &self.security {
            Security::Open => None,
            Security::Key(key) => Some(key),
        };
        Zeroizing::new(self.derive("kodikon mesh 2026-11 group key", material.map_or(&[][..], |key| &key[..])))
    }

    /// The mesh this configuration belongs to.
    #[must_use]
    pub fn mesh_id(&self) -> MeshId {
        let hash = self.derive("kodikon mesh 2026-11 mesh id", &self.group_key()[..]);
        let mut id = [0; 16];
        id.copy_from_slice(&hash[..16]);
        MeshId(id)
    }

    /// Between two packets of a node to its observers: a fifth of the heartbeat interval, as there are five observers.
    #[must_use]
    pub fn beat_period(&self) -> Duration {
        self.heartbeat_interval / OBSERVERS
    }

    fn derive(&self, context: &str, material: &[u8]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        let policy = match self.deletes {
            Deletes::All => 0u8,
            Deletes::Author => 1,
        };
        let open = u8::from(matches!(self.security, Security::Open));
        // Each part is preceded by its length, so that no two configurations give the same bytes.
        for part in [&[policy, open][..], self.mesh_name.as_bytes(), material] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        *hasher.finalize().as_bytes()
    }
}

/// Who may join the mesh.
#[derive(Clone)]
pub enum Security {
    /// Anyone on the LAN: the group key is derived from the mesh's name.
    Open,
    /// Whoever holds this key.
    Key(Zeroizing<[u8; 32]>),
}

impl core::fmt::Debug for Security {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Open => "Open",
            Self::Key(_) => "Key(…)",
        })
    }
}

/// Who may delete a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Deletes {
    /// Every member (the default: the seed's cameras clean up after each other).
    #[default]
    All,
    /// The node that added it.
    Author,
}

/// How patient a node is before it calls a silent peer dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// A switched LAN or decent Wi-Fi.
    #[default]
    Lan,
    /// A LAN where a quick verdict is worth a few more false alarms.
    Fast,
    /// Links with seconds of silence.
    Wan,
    /// Battery nodes that doze.
    Eco,
}

impl Profile {
    /// How long a suspect may answer before it is called failed. The seed noticed a death after 28 to 44 s; these give
    /// the figures of `docs/machines/liveness.md`.
    #[must_use]
    pub fn suspicion(self) -> Duration {
        Duration::from_millis(match self {
            Self::Lan => 3_000,
            Self::Fast => 1_500,
            Self::Wan => 8_000,
            Self::Eco => 6_000,
        })
    }
}

/// Observers of a node: five, so that each hears it once per heartbeat interval while the node sends once a second.
pub const OBSERVERS: u32 = 5;
/// Peers a node holds at most.
pub const MAX_PEERS: usize = 4_096;
/// Peers of an open mesh at most: whoever floods it with identities fills no more than this.
pub const MAX_PEERS_OPEN: usize = 256;
/// Plain bytes that fit a datagram of 1,452 B: Ethernet's 1,500 less 48 for IPv6 and UDP, less the frame's 34.
pub const MAX_PLAIN: usize = 1_418;
/// Bytes of JSON in one message at most.
pub const MAX_PAYLOAD: usize = 64 * 1_024;
/// Bytes of the name of an application's own message type at most.
pub const MAX_KIND: usize = 64;
/// State keys of a node at most.
pub const MAX_STATE_KEYS: usize = 64;
/// JSON bytes of one state value at most.
pub const MAX_STATE_VALUE: usize = 1_024;
/// JSON bytes of a node's whole state at most, keys included.
pub const MAX_STATE: usize = 16 * 1_024;
/// Bytes of a card at most.
pub const MAX_CARD: usize = 1_024;
/// Bytes of a node's name at most.
pub const MAX_NAME: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_mesh_makes_another_mesh() {
        let base = Config::new("a");
        let mut renamed = base.clone();
        renamed.mesh_name = "other".to_owned();
        let mut keyed = base.clone();
        keyed.security = Security::Key(Zeroizing::new([7; 32]));
        let mut strict = base.clone();
        strict.deletes = Deletes::Author;
        let ids = [&base, &renamed, &keyed, &strict].map(Config::mesh_id);
        for (n, id) in ids.iter().enumerate() {
            assert!(!ids[n + 1..].contains(id), "{n} has a twin");
        }
        assert_eq!(base.mesh_id(), Config::new("b").mesh_id(), "a node's own name is no part of the mesh");
    }
}
