//! Decides how a peer looks to the application: one row, frozen when it was asked for.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kodikon_core::effect::{PeerView, Remembered};
use kodikon_core::ground::excess::{Excess, Excesses};
use kodikon_core::ground::id::NodeId;
use kodikon_core::ground::time::{Instant, WallTime};
use kodikon_core::model::member;

use crate::api::{Liveness, NodeState, PeerDetail, PeerRow, StateRow, capabilities};

/// A peer as it was when it was asked for.
#[derive(Debug, Clone, PartialEq)]
#[doc(alias = "PeerInfo")]
pub struct Peer {
    pub(crate) id: NodeId,
    pub(crate) name: String,
    pub(crate) liveness: Liveness,
    pub(crate) address: Option<SocketAddr>,
    pub(crate) rtt: Option<Duration>,
    pub(crate) last_heard: Duration,
    pub(crate) witnesses: Vec<String>,
    pub(crate) reason: &'static str,
    pub(crate) version: String,
    pub(crate) skew_ms: Option<i64>,
    pub(crate) datagrams: u64,
    pub(crate) beyond: Excesses,
    pub(crate) relays: Option<u8>,
    pub(crate) state: Arc<StateRow>,
}

impl Peer {
    /// A peer of the roster. Nodes others only vouch for are none of ours yet.
    pub(crate) fn from_view(
        view: &PeerView,
        witnesses: Vec<String>,
        state: Arc<StateRow>,
        now: Instant,
    ) -> Option<Self> {
        Some(Self {
            id: view.id,
            name: view.name.clone(),
            liveness: liveness(view.liveness)?,
            address: view.address,
            rtt: view.rtt,
            // Heard from never means vouched for by others only; it counts as heard since the start.
            last_heard: now.since(view.heard.unwrap_or(Instant::ZERO)),
            witnesses,
            reason: view.reason,
            version: view.version.clone(),
            skew_ms: view.skew_ms,
            datagrams: view.datagrams,
            beyond: view.beyond,
            relays: view.relays,
            state,
        })
    }

    /// A node of the directory: here once, and not now.
    pub(crate) fn from_remembered(entry: &Remembered, wall: WallTime, since_start: Duration) -> Self {
        let last_heard = Duration::from_millis(wall.0.saturating_sub(entry.wall.0));
        let reason = match entry.left {
            true => "goodbye",
            // Nobody has judged it in this run: it may be on its way back, or be gone for good.
            false if last_heard > since_start => "not heard since this node started",
            false => "no longer heard",
        };
        Self {
            id: entry.id,
            name: entry.name.clone(),
            liveness: if entry.left { Liveness::Left } else { Liveness::Failed },
            address: entry.addresses.first().copied(),
            rtt: None,
            last_heard,
            witnesses: Vec::new(),
            reason,
            version: String::new(),
            skew_ms: None,
            datagrams: 0,
            beyond: Excesses::default(),
            relays: None,
            state: Arc::default(),
        }
    }

    /// The name shown here: its own, or `name-2` where another held it first.
    #[must_use]
    #[doc(alias = "node_id")]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its identity.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// What this node believes of its life.
    #[must_use]
    pub fn liveness(&self) -> Liveness {
        self.liveness
    }

    /// Whether it is alive as far as this node knows. A suspect is: silence has not convicted it yet.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        is_alive(self.liveness)
    }

    /// How long ago this node itself last heard it; where others relay it, that may be as long as the node runs. Up to a second too long, or 100 ms while somebody asks often.
    #[must_use]
    #[doc(alias = "last_heartbeat")]
    pub fn last_heard(&self) -> Duration {
        self.last_heard
    }

    /// How many relays stand between: 0 for a neighbour, none while no way is known. [`Mesh::routes`](crate::Mesh::routes) names them.
    #[must_use]
    pub fn hops(&self) -> Option<u8> {
        self.relays
    }

    /// Where it is reached; none while no way is known, or only by way of others.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Smoothed round trip; none before the first answer.
    #[must_use]
    pub fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// Who says that it is suspect or failed, by name.
    #[must_use]
    pub fn witnesses(&self) -> &[String] {
        &self.witnesses
    }

    /// Why it is suspect, failed or left; empty otherwise.
    #[must_use]
    pub fn reason(&self) -> &str {
        self.reason
    }

    /// The program version it runs.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Its wall clock minus ours in milliseconds, when it last told.
    #[must_use]
    pub fn clock_skew_ms(&self) -> Option<i64> {
        self.skew_ms
    }

    /// What it says it is doing; `offline` once it is not alive.
    #[must_use]
    pub fn state(&self) -> NodeState {
        if self.is_alive() { NodeState::from_state(&self.state.state) } else { NodeState::Offline }
    }

    /// The row that `kodikon peers` shows.
    #[must_use]
    pub fn row(&self) -> PeerRow {
        PeerRow {
            node_id: self.name.clone(),
            id: self.id.to_string(),
            liveness: self.liveness,
            state: self.state(),
            address: self.address.map(|address| address.to_string()),
            hops: self.relays,
            rtt_ms: self.rtt.map(|rtt| rtt.as_secs_f64() * 1_000.0),
            last_heard_ms: u64::try_from(self.last_heard.as_millis()).unwrap_or(u64::MAX),
            witnesses: self.witnesses.clone(),
            reason: self.reason.to_owned(),
            version: self.version.clone(),
            capabilities: capabilities(&self.state.state),
        }
    }

    /// The row with what is counted of this peer alone.
    #[must_use]
    pub fn detail(&self) -> PeerDetail {
        let beyond = Excess::ALL.map(|kind| (kind.name().to_owned(), self.beyond.of(kind)));
        let mut counters = BTreeMap::from(beyond);
        counters.insert("datagrams_received".to_owned(), self.datagrams);
        PeerDetail { peer: self.row(), counters }
    }
}

/// Whether `wanted` means the node of this name and identity.
pub(crate) fn is_called(name: &str, id: &NodeId, wanted: &str) -> bool {
    if name == wanted {
        return true;
    }
    // The digits are written out last: each message looks through all peers for the one that is meant.
    match wanted.rsplit_once('@') {
        // Four digits or more. The bare name belongs to it too where the node is shown with a rank.
        Some((base, digits)) => {
            digits.len() >= 4
                && (base == name || is_ranked(name, base))
                && id.to_string().starts_with(&digits.to_ascii_lowercase())
        }
        None => wanted.len() == 2 * id.0.len() && id.to_string() == wanted,
    }
}

/// Whether `shown` is `base` with a rank or an id behind it.
fn is_ranked(shown: &str, base: &str) -> bool {
    let Some(rest) = shown.strip_prefix(base) else { return false };
    let is_rank = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    rest.starts_with('@') || rest.strip_prefix('-').is_some_and(is_rank)
}

/// Whether it counts as alive for people.
pub(crate) fn is_alive(liveness: Liveness) -> bool {
    match liveness {
        Liveness::Alive | Liveness::Suspect => true,
        Liveness::Failed | Liveness::Left => false,
    }
}

/// How the core's word is shown; those only vouched for are not.
pub(crate) fn liveness(liveness: member::Liveness) -> Option<Liveness> {
    match liveness {
        member::Liveness::Introduced => None,
        member::Liveness::Alive => Some(Liveness::Alive),
        member::Liveness::Suspect => Some(Liveness::Suspect),
        member::Liveness::Failed => Some(Liveness::Failed),
        member::Liveness::Left => Some(Liveness::Left),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_remembered_is_shown_with_the_reason() {
        let at = |second: u64, left| Remembered {
            id: NodeId([1; 16]),
            epoch: kodikon_core::ground::id::Epoch::default(),
            life: kodikon_core::ground::id::Life::default(),
            name: "cam".to_owned(),
            wall: WallTime(second * 1_000),
            left,
            addresses: Vec::new(),
            signed: None,
        };
        // It is the hundredth second, and the node runs for ten.
        for (entry, expected) in [
            (at(89, false), "not heard since this node started"),
            (at(90, false), "no longer heard"),
            (at(20, true), "goodbye"),
        ] {
            let peer = Peer::from_remembered(&entry, WallTime(100_000), Duration::from_secs(10));
            assert_eq!(peer.row().reason, expected, "{entry:?}");
        }
    }

    #[test]
    fn a_node_is_found_by_its_shown_name_by_name_and_digits_and_by_its_identity() {
        let id = NodeId([0xab; 16]);
        for (shown, wanted, expected) in [
            ("cam", "cam", true),
            ("cam", "cam-2", false),
            ("cam-2", "cam", false),
            ("cam-2", "cam-2", true),
            ("cam", "cam@abab", true),
            ("cam-2", "cam@abab", true),
            ("cam-2", "cam-2@ABAB", true),
            ("camera", "cam@abab", false),
            ("cam", "cam@aba", false),
            ("cam", "cam@abac", false),
            ("cam", "abababababababababababababababab", true),
            ("cam", "", false),
        ] {
            assert_eq!(is_called(shown, &id, wanted), expected, "{shown} {wanted}");
        }
    }
}
