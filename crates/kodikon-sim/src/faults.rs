//! Decides what goes wrong in a run: which kinds of fault are on for a seed, and how bad each may be.

pub mod deeds;
pub mod script;
pub mod swarm;

use std::collections::BTreeMap;

use kodikon_core::ground::random::Random;
use serde::Deserialize;

use crate::chance::Odds;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Datagrams are lost, each by itself.
    Loss,
    /// Datagrams are lost in bursts.
    Burst,
    /// Datagrams take longer, each as it likes.
    Jitter,
    /// Datagrams arrive twice.
    Duplicate,
    /// Datagrams overtake each other.
    Reorder,
    /// Datagrams are bent.
    Corrupt,
    /// Interfaces are slow.
    Rate,
    /// Groups of hosts do not hear each other.
    Partition,
    /// One host does not hear another, which hears it.
    OneWay,
    /// One host hears nobody, though its cable is in.
    Silence,
    /// Two hosts do not hear each other on one of their segments.
    Cut,
    /// Nobody hears anybody on one segment, though all cables are in.
    CutSegment,
    /// Nobody hears a host on one of its segments, and it hears all there.
    Mute,
    /// Multicast does not pass.
    MulticastOff,
    /// Broadcast does not pass.
    BroadcastOff,
    /// A cable is out: sends succeed and vanish.
    Cable,
    /// An interface is switched off.
    InterfaceDown,
    /// An interface gets another address.
    Readdress,
    /// A process dies, between any two of its outputs.
    Crash,
    /// A host loses power.
    PowerOff,
    /// A node says goodbye and comes back.
    Leave,
    /// A node comes back without its disk.
    DiskLost,
    /// A node comes back with an older disk.
    DiskOld,
    /// A node comes back with a disk of which some bits changed.
    DiskRots,
    /// A node's disk is full, or fails, for a while.
    DiskFails,
    /// A second node runs with a copy of another's disk.
    Clone,
    /// A process is stopped for up to a second.
    ShortPause,
    /// A process is stopped for longer.
    LongPause,
    /// A host sleeps and wakes up.
    Sleep,
    /// Wall clocks are wrong by up to ten years, and step.
    WallWrong,
    /// Clocks drift.
    Drift,
    /// Firewalls drop TCP connections.
    TcpDropped,
    /// Firewalls drop ICMP.
    IcmpDropped,
    /// Two nodes claim one name.
    NameClash,
    /// A member forges, replays and floods.
    Hostile,
    /// A stranger without the key sends noise.
    Stranger,
    /// A member acknowledges others' letters and passes none on.
    Swallows,
}

impl Kind {
    /// Those that leave every node healthy: any scenario may have them in the background.
    pub const MILD: [Self; 12] = [
        Self::Loss,
        Self::Jitter,
        Self::Duplicate,
        Self::Reorder,
        Self::Corrupt,
        Self::BroadcastOff,
        Self::ShortPause,
        Self::WallWrong,
        Self::Drift,
        Self::TcpDropped,
        Self::IcmpDropped,
        Self::Stranger,
    ];

    /// Those that only a swarm draws.
    pub const HARSH: [Self; 23] = [
        Self::Burst,
        Self::Rate,
        Self::Partition,
        Self::OneWay,
        Self::Silence,
        Self::MulticastOff,
        Self::Cable,
        Self::InterfaceDown,
        Self::Readdress,
        Self::Crash,
        Self::PowerOff,
        Self::Leave,
        Self::DiskLost,
        Self::DiskOld,
        Self::DiskRots,
        Self::Clone,
        Self::LongPause,
        Self::Sleep,
        Self::NameClash,
        Self::Hostile,
        Self::Cut,
        Self::CutSegment,
        Self::DiskFails,
    ];

    /// Its name in JSON and in scenario files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::Burst => "burst",
            Self::Jitter => "jitter",
            Self::Duplicate => "duplicate",
            Self::Reorder => "reorder",
            Self::Corrupt => "corrupt",
            Self::Rate => "rate",
            Self::Partition => "partition",
            Self::OneWay => "one-way",
            Self::Silence => "silence",
            Self::Cut => "cut",
            Self::CutSegment => "cut-segment",
            Self::Mute => "mute",
            Self::MulticastOff => "multicast-off",
            Self::BroadcastOff => "broadcast-off",
            Self::Cable => "cable",
            Self::InterfaceDown => "interface-down",
            Self::Readdress => "readdress",
            Self::Crash => "crash",
            Self::PowerOff => "power-off",
            Self::Leave => "leave",
            Self::DiskLost => "disk-lost",
            Self::DiskOld => "disk-old",
            Self::DiskRots => "disk-rots",
            Self::DiskFails => "disk-fails",
            Self::Clone => "clone",
            Self::ShortPause => "short-pause",
            Self::LongPause => "long-pause",
            Self::Sleep => "sleep",
            Self::WallWrong => "wall-wrong",
            Self::Drift => "drift",
            Self::TcpDropped => "tcp-dropped",
            Self::IcmpDropped => "icmp-dropped",
            Self::NameClash => "name-clash",
            Self::Hostile => "hostile",
            Self::Stranger => "stranger",
            Self::Swallows => "swallows",
        }
    }
}

/// Which kinds are on, and how often each struck.
#[derive(Debug, Clone, Default)]
pub struct Faults(BTreeMap<Kind, u64>);

impl Faults {
    /// Draws what is on for a seed: of the mild kinds always, of the harsh ones in a swarm.
    #[must_use]
    pub fn draw(random: &mut Random, swarm: bool) -> Self {
        // Four in ten of twelve kinds: 98 of 100 seeds have two or more.
        let odds = Odds::of(0.4);
        let kinds = Kind::MILD.iter().chain(if swarm { &Kind::HARSH[..] } else { &[] });
        Self(kinds.filter(|_| odds.draw(random)).map(|&kind| (kind, 0)).collect())
    }

    /// Whether a kind is on.
    #[must_use]
    pub fn is_on(&self, kind: Kind) -> bool {
        self.0.contains_key(&kind)
    }

    /// A fault of this kind struck; from then on it is on.
    pub fn struck(&mut self, kind: Kind) {
        *self.0.entry(kind).or_default() += 1;
    }

    /// A fault of this kind struck so often.
    pub fn struck_often(&mut self, kind: Kind, times: u64) {
        *self.0.entry(kind).or_default() += times;
    }

    /// A kind is on.
    pub fn switch_on(&mut self, kind: Kind) {
        self.0.entry(kind).or_default();
    }

    /// Kinds and how often each struck.
    #[must_use]
    pub fn counts(&self) -> &BTreeMap<Kind, u64> {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::source;

    #[test]
    fn nine_seeds_of_ten_have_two_kinds_of_fault_or_more() {
        for swarm in [false, true] {
            let many = (0..1_000).filter(|&seed| Faults::draw(&mut source(seed, "faults"), swarm).counts().len() >= 2);
            let many = many.count();
            assert!(many >= 950, "{many} of 1,000 seeds, swarm {swarm}");
        }
    }
}
