//! Decides where a peer that was configured by name is reached: the name is looked up again and again on a thread, and what is
//! said to it goes wherever the name leads by then.
//!
//! The core knows such a peer by a stand-in, an address that leads nowhere, and calls it as often as any configured address. So
//! a name service that is slow, or not there yet, delays nobody and loses nobody.

use std::net::{Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::time::Duration;

use kodikon_core::ground::time::Instant;
use tokio::sync::mpsc;

/// Addresses tried of one name.
const ADDRESSES_A_NAME: usize = 4;
/// The pause after a round of look-ups in which a name had no address; doubled each time.
const RETRY_FIRST: Duration = Duration::from_secs(2);
/// The longest of them: as soon as a person would try.
const RETRY_LAST: Duration = Duration::from_secs(60);
/// Names are looked up again even if all have addresses: leases end, machines move.
const RENEW: Duration = Duration::from_secs(600);
/// The discard prefix (RFC 6666): no network has addresses of it.
const NOWHERE: Ipv6Addr = Ipv6Addr::new(0x0100, 0, 0, 0, 0, 0, 0, 0);

/// Asks the system; it may take a minute.
type Lookup = fn(&str) -> Vec<SocketAddr>;

/// What a look-up found; `None` at the end of a round.
pub(crate) type Answer = Option<(usize, Vec<SocketAddr>)>;

/// The peers that were configured by name.
#[derive(Debug)]
pub(crate) struct Names {
    names: Vec<Name>,
    lookup: Lookup,
    /// Where the answers of the round that is on its way come in.
    round: Option<mpsc::UnboundedReceiver<(usize, Vec<SocketAddr>)>>,
    next: Instant,
    pause: Duration,
}

#[derive(Debug)]
struct Name {
    text: String,
    addresses: Vec<SocketAddr>,
    /// The last that was said to it before it had an address.
    held: Option<Vec<u8>>,
    is_told: bool,
}

impl Names {
    /// The addresses by which the core calls configured peers, and the names behind them.
    pub(crate) fn split(peers: &[String]) -> (Vec<SocketAddr>, Self) {
        Self::split_with(peers, |name| {
            name.to_socket_addrs().map(|all| all.take(ADDRESSES_A_NAME).collect()).unwrap_or_default()
        })
    }

    fn split_with(peers: &[String], lookup: Lookup) -> (Vec<SocketAddr>, Self) {
        let mut names = Vec::new();
        let address = |peer: &String| {
            peer.parse().unwrap_or_else(|_| {
                names.push(Name { text: peer.clone(), addresses: Vec::new(), held: None, is_told: false });
                stand_in(names.len() - 1)
            })
        };
        let addresses = peers.iter().map(address).collect();
        (addresses, Self { names, lookup, round: None, next: Instant::ZERO, pause: RETRY_FIRST })
    }

    /// Where what is said to a stand-in goes now; `None` for every other address.
    pub(crate) fn lead(&mut self, to: SocketAddr, bytes: &[u8]) -> Option<&[SocketAddr]> {
        let name = self.names.get_mut(number(to)?)?;
        if name.addresses.is_empty() {
            name.held = Some(bytes.to_vec());
        }
        Some(&name.addresses)
    }

    /// When a round is due; none while one is on its way.
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        (!self.names.is_empty() && self.round.is_none()).then_some(self.next)
    }

    /// The network has changed: what had no address may have one now.
    pub(crate) fn hurry(&mut self, now: Instant) {
        (self.next, self.pause) = (now, RETRY_FIRST);
    }

    /// Begins a round if one is due.
    pub(crate) fn on_wake(&mut self, now: Instant) {
        if self.next_wake().is_none_or(|at| at > now) {
            return;
        }
        let (answers, round) = mpsc::unbounded_channel();
        let (asked, lookup) = (self.names.iter().map(|name| name.text.clone()).collect::<Vec<_>>(), self.lookup);
        let look = move || {
            for (number, name) in asked.into_iter().enumerate() {
                if answers.send((number, lookup(&name))).is_err() {
                    return;
                }
            }
        };
        match std::thread::Builder::new().name("kodikon-names".into()).spawn(look) {
            Ok(_) => self.round = Some(round),
            Err(error) => {
                tracing::warn!(%error, "names of configured peers are not looked up; tried again soon");
                self.next = now + RETRY_LAST;
            }
        }
    }

    /// The next answer of the round that is on its way. Dropping the future loses nothing.
    pub(crate) async fn answered(&mut self) -> Answer {
        match &mut self.round {
            Some(round) => round.recv().await,
            None => std::future::pending().await,
        }
    }

    /// Takes an answer over; gives back what waits to be said to that name, and where.
    pub(crate) fn take(&mut self, now: Instant, answer: Answer) -> Option<(Vec<u8>, &[SocketAddr])> {
        let Some((number, addresses)) = answer else {
            self.end_round(now);
            return None;
        };
        let name = self.names.get_mut(number)?;
        // A name service that is away for a while must not cost what it said before.
        if addresses.is_empty() {
            return None;
        }
        if name.addresses != addresses {
            tracing::info!(name = %name.text, ?addresses, "configured peer found");
        }
        name.addresses = addresses;
        name.is_told = false;
        Some((name.held.take()?, &name.addresses))
    }

    fn end_round(&mut self, now: Instant) {
        self.round = None;
        let mut is_missing = false;
        for name in self.names.iter_mut().filter(|name| name.addresses.is_empty()) {
            is_missing = true;
            if !std::mem::replace(&mut name.is_told, true) {
                tracing::warn!(name = %name.text, "configured peer not found: its name has no address; it is looked up again and again");
            }
        }
        self.next = now + if is_missing { self.pause } else { RENEW };
        self.pause = if is_missing { (self.pause * 2).min(RETRY_LAST) } else { RETRY_FIRST };
    }
}

/// The stand-in of a name.
fn stand_in(number: usize) -> SocketAddr {
    let low = u128::try_from(number).expect("a usize fits");
    SocketAddr::from((Ipv6Addr::from(u128::from(NOWHERE) | low), 1))
}

/// Which name an address stands in for.
fn number(address: SocketAddr) -> Option<usize> {
    let SocketAddr::V6(address) = address else { return None };
    let low = u128::from(*address.ip()).checked_sub(u128::from(NOWHERE))?;
    (address.port() == 1).then(|| usize::try_from(low).ok())?
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    const FAR: &str = "192.0.2.9:10000";

    fn far() -> SocketAddr {
        FAR.parse().unwrap()
    }

    /// Answers until a round is over; gives back what could be said at last.
    async fn round(names: &mut Names, now: Instant) -> Vec<(Vec<u8>, Vec<SocketAddr>)> {
        names.on_wake(now);
        assert_eq!(names.next_wake(), None, "one round at a time");
        let mut said = Vec::new();
        loop {
            let answer = names.answered().await;
            let is_last = answer.is_none();
            said.extend(names.take(now, answer).map(|(bytes, to)| (bytes, to.to_vec())));
            if is_last {
                return said;
            }
        }
    }

    #[test]
    fn addresses_are_taken_as_they_are_and_names_get_a_stand_in() {
        let peers = [FAR, "cam7.local:9999", "[fd00::1]:10000", "cam8.local:9999"].map(str::to_owned);
        let (addresses, mut names) = Names::split(&peers);
        assert_eq!((addresses[0], addresses[2]), (far(), "[fd00::1]:10000".parse().unwrap()));
        assert_eq!([1, 3].map(|n| number(addresses[n])), [Some(0), Some(1)]);
        for address in [FAR, "[fd00::1]:10000", "[100::5]:1", "[100::]:9999", "[ff02::6b64]:1"] {
            assert_eq!(names.lead(address.parse().unwrap(), b"x"), None, "{address}");
        }
    }

    #[tokio::test]
    async fn a_name_is_looked_up_until_it_leads_somewhere_and_gets_what_was_said_last() {
        static IS_THERE: AtomicBool = AtomicBool::new(false);
        let lookup = |_: &str| if IS_THERE.load(Ordering::Relaxed) { vec![FAR.parse().unwrap()] } else { Vec::new() };
        let (addresses, mut names) = Names::split_with(&["cam7.local:10000".to_owned()], lookup);
        let mut now = Instant::ZERO;
        for pause in [2, 4, 8, 16, 32, 60, 60] {
            for word in [b"one", b"two"] {
                assert_eq!(names.lead(addresses[0], word), Some(&[][..]));
            }
            assert!(round(&mut names, now).await.is_empty());
            assert_eq!(names.next_wake(), Some(now + Duration::from_secs(pause)), "the driver would spin");
            now = now + Duration::from_secs(pause);
        }
        names.hurry(now);
        assert_eq!(names.next_wake(), Some(now), "a changed network is tried at once");
        IS_THERE.store(true, Ordering::Relaxed);
        assert_eq!(round(&mut names, now).await, [(b"two".to_vec(), vec![far()])]);
        assert_eq!(names.next_wake(), Some(now + RENEW));
        assert_eq!(names.lead(addresses[0], b"three"), Some(&[far()][..]));

        IS_THERE.store(false, Ordering::Relaxed);
        round(&mut names, now + RENEW).await;
        assert_eq!(names.lead(addresses[0], b"four"), Some(&[far()][..]), "what was known stays");
    }

    #[test]
    fn without_names_there_is_nothing_to_do() {
        let (_, mut names) = Names::split(&[FAR.to_owned()]);
        names.on_wake(Instant::ZERO);
        assert_eq!(names.next_wake(), None);
    }
}
