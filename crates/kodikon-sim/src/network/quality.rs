//! Decides how good a segment is, and what one crossing of it does to a datagram.

use core::time::Duration;

use kodikon_core::ground::random::Random;

use crate::chance::{Odds, exponential};
use crate::moment::Moment;

/// How a segment treats datagrams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quality {
    /// Lost, each by itself.
    pub loss: Odds,
    /// Lost in bursts, by receiver.
    pub burst: Option<Burst>,
    /// From sender to receiver. Default 150 µs, a switched LAN with idle receivers (driver facts: 48 µs over veth).
    pub delay: Duration,
    /// Added, up to this much.
    pub jitter: Duration,
    /// Arrive twice.
    pub duplicate: Odds,
    /// Held back, so that later ones overtake them.
    pub reorder: Odds,
    /// One bit bent on the way, in a way that the UDP checksum does not see.
    pub corrupt: Odds,
    /// Bytes a second that one interface can send; `None` = no limit.
    pub rate: Option<u64>,
    /// Whether IPv4 multicast passes (a switch that snoops without querier stops it).
    pub multicast4: bool,
    /// Whether IPv6 multicast passes.
    pub multicast6: bool,
    /// Whether broadcast passes (some access points drop it).
    pub broadcast: bool,
}

impl Quality {
    /// A LAN that does nothing wrong.
    #[must_use]
    pub fn clean() -> Self {
        Self {
            loss: Odds::NEVER,
            burst: None,
            delay: Duration::from_micros(150),
            jitter: Duration::from_micros(100),
            duplicate: Odds::NEVER,
            reorder: Odds::NEVER,
            corrupt: Odds::NEVER,
            rate: None,
            multicast4: true,
            multicast6: true,
            broadcast: true,
        }
    }

    /// Whether nothing happens on the way that needs chance per receiver.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.loss == Odds::NEVER
            && self.burst.is_none()
            && self.duplicate == Odds::NEVER
            && self.reorder == Odds::NEVER
            && self.corrupt == Odds::NEVER
    }

    /// Whether some of it does not arrive as it was sent.
    #[must_use]
    pub fn loses(&self) -> bool {
        self.loss != Odds::NEVER || self.burst.is_some() || self.corrupt != Odds::NEVER
    }

    /// What happens to one datagram on its way to one receiver.
    pub fn cross(&self, now: Moment, burst: &mut BurstState, random: &mut Random) -> Crossing {
        if self.is_plain() {
            return Crossing::default();
        }
        let bits = random.bits();
        let in_burst =
            self.burst.as_ref().is_some_and(|rule| burst.is_bad(now, rule, random) && rule.loss.draw(random));
        Crossing {
            lost: in_burst || self.loss.hit(bits),
            twice: self.duplicate.hit(bits >> 16),
            held: if self.reorder.hit(bits >> 32) { HELD_LEAST + random.span(HELD_MORE) } else { Duration::ZERO },
            bent: self.corrupt.hit(bits >> 48).then(|| random.bits()),
        }
    }

    /// How long one datagram takes.
    pub fn travel(&self, random: &mut Random) -> Duration {
        self.delay + random.span(self.jitter)
    }
}

/// What is held back is held at least this long, which later datagrams need to overtake it.
const HELD_LEAST: Duration = Duration::from_millis(1);
/// And up to this much longer.
const HELD_MORE: Duration = Duration::from_millis(30);

/// What one crossing does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Crossing {
    /// It does not arrive.
    pub lost: bool,
    /// It arrives twice.
    pub twice: bool,
    /// It is held back this long.
    pub held: Duration,
    /// Which bit is bent.
    pub bent: Option<u64>,
}

impl Crossing {
    /// Whether it arrives once, whole and in time.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

/// Gilbert and Elliott's two states: good, where nothing more is lost, and bad, where much is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Burst {
    /// Mean length of a good spell.
    pub good: Duration,
    /// Mean length of a bad spell.
    pub bad: Duration,
    /// Lost while it is bad.
    pub loss: Odds,
}

/// In which of the two states one receiver is.
#[derive(Debug, Clone, Copy, Default)]
pub struct BurstState {
    bad: bool,
    until: Moment,
}

/// Spells walked through at most when a receiver was idle long; after that many its state is as good as drawn anew.
const SPELLS: u32 = 64;

impl BurstState {
    fn is_bad(&mut self, now: Moment, rule: &Burst, random: &mut Random) -> bool {
        for _ in 0..SPELLS {
            if now < self.until {
                return self.bad;
            }
            self.bad = !self.bad;
            self.until += exponential(random, if self.bad { rule.bad } else { rule.good });
        }
        self.bad = false;
        self.until = now + exponential(random, rule.good);
        self.bad
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::source;

    #[test]
    fn loss_holds_over_many_crossings() {
        let quality = Quality { loss: Odds::of(0.3), ..Quality::clean() };
        let (mut random, mut state) = (source(1, "test"), BurstState::default());
        let lost = (0..10_000).filter(|_| quality.cross(Moment::START, &mut state, &mut random).lost).count();
        assert!((2_850..3_150).contains(&lost), "{lost}");
    }

    #[test]
    fn bursts_lose_their_share_and_lose_it_together() {
        let burst = Burst { good: Duration::from_secs(9), bad: Duration::from_secs(1), loss: Odds::of(1.0) };
        let quality = Quality { burst: Some(burst), ..Quality::clean() };
        let (mut random, mut state) = (source(2, "test"), BurstState::default());
        let lost: Vec<bool> =
            (0..100_000).map(|n| quality.cross(Moment(n * 50_000_000), &mut state, &mut random).lost).collect();
        let share = lost.iter().filter(|&&lost| lost).count();
        let turns = lost.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!((8_500..11_500).contains(&share), "{share} of 100,000 lost, a tenth expected");
        // A second holds 20 datagrams: losses alone would turn 18,000 times.
        assert!(turns < 1_500, "{turns} turns");
    }
}
