//! `peers`: who is in the mesh, without oneself.

use kodikon::api::{Liveness, PeerRow};

use crate::args::{Common, PeersArgs};
use crate::client::Client;
use crate::outcome::{Done, Failure};
use crate::print::{self, Tone, span_ms};

pub(crate) fn run(common: &Common, args: &PeersArgs) -> Result<Done, Failure> {
    let client = Client::find(&args.node, common.data_dir.as_deref())?;
    let document = client.get(if args.all { "/v1/peers?all=true" } else { "/v1/peers" })?;
    if common.json {
        // Passed on as it came: a newer node may know more fields than this program.
        print::json(&document)?;
        return Ok(Done::Well);
    }
    let peers: Vec<PeerRow> = super::understand(&document)?;
    if peers.is_empty() {
        eprintln!("nobody else is here; `kodikon doctor` says why that may be");
    }
    let rows: Vec<(Tone, Vec<String>)> = peers.iter().map(row).collect();
    print::table(
        &["node", "life", "state", "address", "hops", "rtt", "heard", "version", "witnesses", "reason"],
        &rows,
    )?;
    Ok(Done::Well)
}

fn row(peer: &PeerRow) -> (Tone, Vec<String>) {
    let tone = match peer.liveness {
        Liveness::Suspect => Tone::Odd,
        Liveness::Failed => Tone::Bad,
        Liveness::Left => Tone::Faint,
        Liveness::Alive | _ => Tone::Plain,
    };
    let dash = || "-".to_owned();
    #[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
    let heard = format!("{} ago", span_ms(peer.last_heard_ms as f64));
    // Others hear one that they relay; when it last was a neighbour of ours tells nobody anything.
    let is_near = peer.hops.is_none_or(|hops| hops == 0);
    let cells = vec![
        peer.node_id.clone(),
        peer.liveness.as_str().to_owned(),
        peer.state.as_str().to_owned(),
        peer.address.clone().unwrap_or_else(dash),
        peer.hops.map_or_else(dash, |hops| hops.to_string()),
        peer.rtt_ms.map_or_else(dash, span_ms),
        if is_near { heard } else { dash() },
        peer.version.clone(),
        peer.witnesses.join(", "),
        peer.reason.clone(),
    ];
    (tone, cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_far_peer_has_hops_in_place_of_an_address() {
        let peer = serde_json::json!({
            "node_id": "cam7", "id": "00", "liveness": "alive", "state": "active", "address": null, "hops": 4, "rtt_ms": null,
            "last_heard_ms": 91_000, "witnesses": [], "reason": "", "version": "0.1.0", "capabilities": {},
        });
        let peer: PeerRow = serde_json::from_value(peer).expect("its fields");
        let (tone, cells) = row(&peer);
        assert_eq!(tone, Tone::Plain);
        assert_eq!(cells, ["cam7", "alive", "active", "-", "4", "-", "-", "0.1.0", "", ""]);
    }

    #[test]
    fn a_failed_peer_is_shown_as_bad_with_its_witnesses() {
        let peer = serde_json::json!({
            "node_id": "cam1", "id": "00", "liveness": "failed", "state": "offline", "address": null, "hops": null, "rtt_ms": null,
            "last_heard_ms": 4_200, "witnesses": ["cam2", "cam3"], "reason": "silence", "version": "0.1.0", "capabilities": {},
        });
        let peer: PeerRow = serde_json::from_value(peer).expect("its fields");
        let (tone, cells) = row(&peer);
        assert_eq!(tone, Tone::Bad);
        assert_eq!(cells, ["cam1", "failed", "offline", "-", "-", "-", "4.2 s ago", "0.1.0", "cam2, cam3", "silence"]);
    }
}
