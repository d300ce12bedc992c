//! Decides when a peer that goes beyond its share is named, and what is said of it.

use kodikon_core::ground::excess::Excess;

use super::{Finding, Offences, Symptoms, ok, unknown, warn};

/// Facts of one peer beyond its rate that are worth a word: all that an honest one says may come at once to a newcomer, and what
/// does not fit is asked for again.
const OPS_TELL: u64 = 5_000;
/// Sightings beyond its rate that are worth a word: what waited in the queues of relays may come at once.
const RECORDS_TELL: u64 = 1_000;
/// Minutes of links that others deny: it may be that many do not hear it for a while.
const LINKS_TELL: u64 = 5;
/// Frames heard again that are worth a word; and for each that was new, more than a host's other interfaces on the same network bring.
const REPLAYS_TELL: u64 = 1_000;
const REPLAYS_FOR_EACH: u64 = 4;
/// Peers named at most.
const NAMED: usize = 8;

/// What one peer did, as far as it is worth a word: the number first.
fn words(kind: Excess, count: u64, heard: u64) -> Option<String> {
    let tells = match kind {
        Excess::Datagrams | Excess::Alerts | Excess::Letters | Excess::Casts | Excess::Searches | Excess::Forgeries => {
            count > 0
        }
        Excess::Records => count >= RECORDS_TELL,
        Excess::Links => count >= LINKS_TELL,
        Excess::Ops => count >= OPS_TELL,
        Excess::Replays => count >= REPLAYS_TELL && count > heard.saturating_mul(REPLAYS_FOR_EACH),
    };
    let what = match kind {
        Excess::Datagrams => "datagrams beyond 5,000 a second",
        Excess::Ops => "facts about itself beyond 100 a second",
        Excess::Alerts => "alerts beyond 20 a second (critical: 10)",
        Excess::Letters => "letters by relays beyond 5,000 a second",
        Excess::Casts => "broadcasts beyond 20 a second",
        Excess::Searches => "searches beyond 40 a second",
        Excess::Records => "sightings told unasked beyond 200 a second",
        Excess::Links => "minutes in which it told of many links that their other ends deny",
        Excess::Forgeries => "facts or broadcasts of others passed on under signatures that are not theirs",
        Excess::Replays => "frames of its session that had come before",
    };
    tells.then(|| format!("{count} {what}"))
}

/// Whether this is the only thing to be said of anybody.
fn is_all(offences: &[(&str, Vec<(Excess, String)>)], wanted: Excess) -> bool {
    offences.iter().flat_map(|(_, said)| said).all(|(kind, _)| *kind == wanted)
}

pub(super) fn peer_rates(symptoms: &Symptoms) -> Finding {
    let Some(peers) = &symptoms.offences else { return unknown("not looked at") };
    let of_peer = |peer: &'_ Offences| -> Vec<(Excess, String)> {
        let said = |kind| Some((kind, words(kind, peer.beyond.of(kind), peer.heard)?));
        Excess::ALL.into_iter().filter_map(said).collect()
    };
    let mut offences: Vec<(&str, Vec<(Excess, String)>)> =
        peers.iter().map(|peer| (peer.node_id.as_str(), of_peer(peer))).collect();
    offences.retain(|(_, said)| !said.is_empty());
    if offences.is_empty() {
        return ok("no peer sends more than it may");
    }
    let row = |(name, said): &(&str, Vec<(Excess, String)>)| {
        let said: Vec<&str> = said.iter().map(|(_, said)| said.as_str()).collect();
        format!("{name}: {}", said.join(", "))
    };
    let shown = offences.iter().take(NAMED).map(row).collect::<Vec<_>>().join("; ");
    let more = offences.len().saturating_sub(NAMED);
    let more = if more > 0 { format!("; and {more} more peers") } else { String::new() };
    let cure = if is_all(&offences, Excess::Replays) {
        "look for a loop in the switches there (two cables between the same two, spanning tree off), or for somebody who records and \
         repeats; what is repeated does nothing"
    } else {
        "look at what runs there: no node of this mesh does that, so it is another program with the mesh's key, or it was changed. If you \
         do not know it, give the others a new key (`kodikon key new`); nobody else loses anything by it"
    };
    warn(format!("refused since this node started: {shown}{more}"), cure)
}
