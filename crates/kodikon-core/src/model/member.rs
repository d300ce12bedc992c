//! Decides what a node says of itself (its signed card) and in which states others may hold it.

use std::net::{IpAddr, SocketAddr};

use minicbor::{Decode, Encode};

use crate::ground::config::{MAX_CARD, MAX_NAME};
use crate::ground::id::{Life, SessionTag};

/// What a node signs about itself. It travels as the body of a `live` op, whose envelope names author and epoch.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
#[non_exhaustive]
pub struct Card {
    /// Ed25519 public key; the author's id is its hash.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub public_key: [u8; 32],
    /// X25519 public key, for keys between two nodes.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub exchange_key: [u8; 32],
    /// Names the frames of this run.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub tag: [u8; 8],
    /// Raised to refute a verdict.
    #[n(3)]
    pub life: u32,
    /// What people call the node.
    #[n(4)]
    pub name: String,
    /// 1 shows the bare name, 2 shows `name-2`, and so on; chosen by the node itself so that all show the same.
    #[n(5)]
    pub rank: u16,
    /// Whether the node had its rank before it met whoever reads this.
    #[n(6)]
    pub settled: bool,
    /// Where its unicast port can be reached; docker, bridge and loopback addresses left out.
    #[n(7)]
    pub addresses: Vec<CardAddress>,
    /// Version of the program.
    #[n(8)]
    pub version: String,
    /// What it understands beyond what all do, one bit each; cards of earlier versions say nothing.
    #[n(9)]
    pub features: Option<u32>,
    /// Of the author's runs before this one nothing of its log is active any more; absent: it does not say.
    #[n(10)]
    pub log_floor: Option<u64>,
}

/// The bit of a card's features of whoever reads packed letters.
pub const READS_PACKED: u32 = 1;
/// The bit of whoever answers searches of others.
pub const ANSWERS_SEARCHES: u32 = 2;
/// The bit of whoever holds sightings that it has told nobody of.
pub const HOLDS_LOCAL: u32 = 4;

/// One address of a node's unicast port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct CardAddress {
    /// The IP address: 4 or 16 bytes on the wire.
    #[cbor(n(0), with = "ip_bytes")]
    pub ip: IpAddr,
    /// The UDP and TCP port.
    #[n(1)]
    pub port: u16,
    /// Length of the network's prefix in bits.
    #[n(2)]
    pub prefix: u8,
}

impl CardAddress {
    /// As a socket address.
    #[must_use]
    pub fn socket(&self) -> SocketAddr {
        SocketAddr::new(self.ip, self.port)
    }

    /// Whether both addresses lie in one IP network.
    #[must_use]
    pub fn shares_network(&self, other: &Self) -> bool {
        self.prefix == other.prefix && is_same_network(self.ip, other.ip, self.prefix)
    }
}

/// Whether two addresses agree in their first bits.
#[must_use]
pub fn is_same_network(one: IpAddr, other: IpAddr, prefix: u8) -> bool {
    match (one, other) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
            a.to_bits() & mask == b.to_bits() & mask
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
            a.to_bits() & mask == b.to_bits() & mask
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

/// Addresses a card may list; more would crowd out the rest of a HELLO.
pub const MAX_ADDRESSES: usize = 8;
/// Bytes of a version text at most.
const MAX_VERSION: usize = 32;

impl Card {
    /// The session this card belongs to.
    #[must_use]
    pub fn session(&self) -> SessionTag {
        SessionTag(self.tag)
    }

    /// Whether letters to it may be packed.
    #[must_use]
    pub fn reads_packed(&self) -> bool {
        self.features.is_some_and(|features| features & READS_PACKED != 0)
    }

    /// Whether searches may be put to it.
    #[must_use]
    pub fn answers_searches(&self) -> bool {
        self.features.is_some_and(|features| features & ANSWERS_SEARCHES != 0)
    }

    /// Whether it holds sightings that nobody else has.
    #[must_use]
    pub fn holds_local(&self) -> bool {
        self.features.is_some_and(|features| features & HOLDS_LOCAL != 0)
    }

    /// The life this card was signed in.
    #[must_use]
    pub fn life(&self) -> Life {
        Life(self.life)
    }

    /// The name as people see it: the bare one for its first holder, `name-2` for the next.
    #[must_use]
    pub fn shown_name(&self) -> String {
        if self.rank <= 1 { self.name.clone() } else { format!("{}-{}", self.name, self.rank) }
    }

    /// Reads a card from an op's body; `None` if it is no card or exceeds a limit.
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Self> {
        if body.len() > MAX_CARD {
            return None;
        }
        let mut card: Self = minicbor::decode(body).ok()?;
        let fits = is_name(&card.name) && card.version.len() <= MAX_VERSION && card.addresses.len() <= MAX_ADDRESSES;
        // Kept for as long as the peer: a decoder takes room for more than it reads.
        card.addresses.shrink_to_fit();
        fits.then_some(card)
    }
}

/// Whether a text may be a node's name: 1 to 64 bytes, no control character, no `@` (which sets the id apart).
#[must_use]
pub fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_NAME && !name.chars().any(|c| c.is_control() || c == '@')
}

/// Why a peer is suspect or failed: it fell silent and answered no probe.
pub const REASON_SILENCE: &str = "silence";
/// Why a peer failed: its process ended; the kernel closed its connection and its port.
pub const REASON_PROCESS: &str = "process ended";
/// Why a row is shown as suspect while this node hears nobody: it may be this node that is cut off.
pub const REASON_ISOLATED: &str = "isolated";
/// Why a peer that is not heard itself is suspect or failed: no relay hears it any more.
pub const REASON_NO_WAY: &str = "no way";
/// Why a peer failed: nothing was heard for `heartbeat_timeout`.
pub const REASON_BOUND: &str = "heartbeat_timeout";

/// How a node is held by another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[doc(alias = "is_alive")]
pub enum Liveness {
    /// Vouched for by a live peer, not heard yet. Not shown to anyone.
    Introduced,
    /// Heard.
    Alive,
    /// Silent when it was due, and it did not answer.
    Suspect,
    /// Called dead, by witnesses or by the hard bound.
    Failed,
    /// Said goodbye.
    Left,
}

impl Liveness {
    /// Whether ops of this author are held: it is alive, or may be.
    #[must_use]
    pub fn is_present(self) -> bool {
        match self {
            Self::Alive | Self::Suspect => true,
            Self::Introduced | Self::Failed | Self::Left => false,
        }
    }

    /// The word the JSON face uses.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Introduced => "introduced",
            Self::Alive => "alive",
            Self::Suspect => "suspect",
            Self::Failed => "failed",
            Self::Left => "left",
        }
    }
}

mod ip_bytes {
    //! An IP address as its 4 or 16 bytes.
    use minicbor::decode::Error;
    use minicbor::encode::Write;
    use minicbor::{Decoder, Encoder};
    use std::net::IpAddr;

    pub(super) fn encode<C, W: Write>(
        ip: &IpAddr,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        match ip {
            IpAddr::V4(v4) => e.bytes(&v4.octets())?.ok(),
            IpAddr::V6(v6) => e.bytes(&v6.octets())?.ok(),
        }
    }

    pub(super) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<IpAddr, Error> {
        let bytes = d.bytes()?;
        if let Ok(four) = <[u8; 4]>::try_from(bytes) {
            return Ok(four.into());
        }
        <[u8; 16]>::try_from(bytes).map(IpAddr::from).map_err(|_| Error::message("an address of 4 or 16 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_survives_the_wire_and_an_oversized_one_is_refused() {
        let address = CardAddress { ip: "10.77.0.2".parse().unwrap(), port: 10_000, prefix: 16 };
        let mut card = Card {
            public_key: [1; 32],
            exchange_key: [2; 32],
            tag: [3; 8],
            life: 4,
            name: "cam".to_owned(),
            rank: 2,
            settled: true,
            addresses: vec![address],
            version: "0.1.0".to_owned(),
            features: None,
            log_floor: None,
        };
        assert_eq!(Card::parse(&minicbor::to_vec(&card).unwrap()), Some(card.clone()));
        assert_eq!(card.shown_name(), "cam-2");
        card.name = "x".repeat(65);
        assert_eq!(Card::parse(&minicbor::to_vec(&card).unwrap()), None);
    }

    #[test]
    fn two_addresses_share_a_network_when_prefix_and_bits_agree() {
        let at = |ip: &str, prefix| CardAddress { ip: ip.parse().unwrap(), port: 1, prefix };
        let table = [
            (at("10.77.0.1", 16), at("10.77.9.9", 16), true),
            (at("10.77.0.1", 16), at("10.78.0.1", 16), false),
            (at("10.77.0.1", 16), at("10.77.0.2", 24), false),
            (at("1.2.3.4", 0), at("9.9.9.9", 0), true),
            (at("fd00::1", 64), at("fd00::2", 64), true),
            (at("fd00::1", 64), at("10.0.0.1", 64), false),
        ];
        for (a, b, expected) in table {
            assert_eq!(a.shares_network(&b), expected, "{a:?} {b:?}");
        }
    }
}
