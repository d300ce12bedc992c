//! `routes`: the way to every node, and who has none.

use kodikon::api::{Liveness, PeerRow, RouteRow};

use crate::args::{Common, NodeArgs};
use crate::client::Client;
use crate::outcome::{Done, Failure};
use crate::print::{self, Tone};

pub(crate) fn run(common: &Common, node: &NodeArgs) -> Result<Done, Failure> {
    let client = Client::find(node, common.data_dir.as_deref())?;
    if common.json {
        // Passed on as it came: a newer node may know more fields than this program.
        print::json(&client.get("/v1/routes")?)?;
        return Ok(Done::Well);
    }
    // Asked first: who comes in between has a way and no row, which is better than a row and no way.
    let peers = client.get("/v1/peers")?;
    let document = client.get("/v1/routes")?;
    let rows = table(&super::understand::<Vec<PeerRow>>(&peers)?, &super::understand::<Vec<RouteRow>>(&document)?);
    if rows.is_empty() {
        eprintln!("nobody else is here; `kodikon doctor` says why that may be");
    }
    print::table(&["node", "next hop", "relays", "cost", "interface", "source", "way", "why"], &rows)?;
    Ok(Done::Well)
}

/// A row for each way, and one for each peer without; by name.
fn table(peers: &[PeerRow], routes: &[RouteRow]) -> Vec<(Tone, Vec<String>)> {
    let is_present = |peer: &&PeerRow| match peer.liveness {
        Liveness::Alive | Liveness::Suspect => true,
        Liveness::Failed | Liveness::Left | _ => false,
    };
    let has_way = |peer: &PeerRow| routes.iter().any(|route| route.id == peer.id);
    let without = peers.iter().filter(is_present).filter(|peer| !has_way(peer)).map(without);
    let mut rows: Vec<(Tone, Vec<String>)> = routes.iter().map(with).chain(without).collect();
    rows.sort_by(|(_, one), (_, other)| one.cmp(other));
    rows
}

fn with(route: &RouteRow) -> (Tone, Vec<String>) {
    let relays = route.path.split_last().map(|(_, relays)| relays).unwrap_or_default();
    let cells = vec![
        route.node_id.clone(),
        route.next_hop.clone(),
        route.relays.to_string(),
        route.cost.to_string(),
        route.interface.clone().unwrap_or_else(|| "-".to_owned()),
        route.source.as_str().to_owned(),
        way(route, relays),
        why(route),
    ];
    (Tone::Plain, cells)
}

/// The relays, and on which links much is lost.
fn way(route: &RouteRow, relays: &[String]) -> String {
    let mut way = if relays.is_empty() { "direct".to_owned() } else { format!("over {}", relays.join(" > ")) };
    for link in route.links.iter().filter(|link| link.loss_percent > 0) {
        way.push_str(&format!(", {} % lost to {}", link.loss_percent, link.to));
    }
    way
}

/// Why it was chosen, and what the next best one would cost.
fn why(route: &RouteRow) -> String {
    let Some(other) = &route.next_best else { return route.why.clone() };
    let relays = other.path.split_last().map(|(_, relays)| relays).unwrap_or_default();
    let beside = if relays.is_empty() { "direct".to_owned() } else { format!("over {}", relays.join(" > ")) };
    format!("{}; next: {beside} for {}", route.why, other.cost)
}

fn without(peer: &PeerRow) -> (Tone, Vec<String>) {
    let why = match (peer.hops, peer.liveness) {
        (Some(_), _) => "its links are not known yet",
        (None, Liveness::Suspect) => "no links lead to it any more",
        (None, _) => "no links lead to it",
    };
    let dash = || "-".to_owned();
    (Tone::Odd, vec![peer.node_id.clone(), dash(), dash(), dash(), dash(), dash(), format!("no way: {why}"), dash()])
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn peer(name: &str, liveness: &str, hops: Option<u8>, reason: &str) -> PeerRow {
        let fields = json!({
            "node_id": name, "id": name, "liveness": liveness, "state": "active", "address": null, "hops": hops, "rtt_ms": null,
            "last_heard_ms": 0, "witnesses": [], "reason": reason, "version": "0.1.0", "capabilities": {},
        });
        serde_json::from_value(fields).expect("its fields")
    }

    fn route(path: &[&str], interface: Value) -> RouteRow {
        let name = path.last().expect("a destination");
        let fields = json!({
            "node_id": name, "id": name, "next_hop": path[0], "path": path, "relays": path.len() - 1, "cost": 10 * path.len(),
            "interface": interface, "source": "map", "why": "no other is known",
        });
        serde_json::from_value(fields).expect("its fields")
    }

    #[test]
    fn each_way_is_explained_and_who_has_none_is_told_with_the_reason() {
        let peers = [
            peer("n2", "alive", Some(0), ""),
            peer("n4", "alive", Some(2), ""),
            peer("n5", "suspect", None, "silence"),
            peer("n6", "alive", None, ""),
            peer("n7", "failed", None, "silence"),
            peer("n1", "alive", Some(0), ""),
        ];
        let mut far = route(&["n2", "n3", "n4"], Value::Null);
        far.links = serde_json::from_value(json!([
            {"to": "n2", "cost": 10, "loss_percent": 0}, {"to": "n3", "cost": 16, "loss_percent": 20},
            {"to": "n4", "cost": 10, "loss_percent": 0}]))
        .expect("its fields");
        far.next_best = serde_json::from_value(json!({"path": ["n6", "n5", "n4"], "cost": 46})).expect("its fields");
        far.why = "the cheapest".to_owned();
        let routes = [route(&["n2"], json!("eth0")), far];
        let expected = [
            (Tone::Odd, ["n1", "-", "-", "-", "-", "-", "no way: its links are not known yet", "-"]),
            (Tone::Plain, ["n2", "n2", "0", "10", "eth0", "map", "direct", "no other is known"]),
            (
                Tone::Plain,
                [
                    "n4",
                    "n2",
                    "2",
                    "30",
                    "-",
                    "map",
                    "over n2 > n3, 20 % lost to n3",
                    "the cheapest; next: over n6 > n5 for 46",
                ],
            ),
            (Tone::Odd, ["n5", "-", "-", "-", "-", "-", "no way: no links lead to it any more", "-"]),
            (Tone::Odd, ["n6", "-", "-", "-", "-", "-", "no way: no links lead to it", "-"]),
        ];
        let found = table(&peers, &routes);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for ((tone, cells), (wanted, words)) in found.iter().zip(expected) {
            assert_eq!((*tone, &cells[..]), (wanted, &words.map(str::to_owned)[..]));
        }
    }
}
