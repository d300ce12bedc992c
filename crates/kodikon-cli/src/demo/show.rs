//! Decides how a demo is shown: a line for each event, a table now and then; or events as JSON Lines.

use std::collections::BTreeMap;

use kodikon::Mesh;
use kodikon::api::{Event, Liveness, NodeState, Started, StateRow, What};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::event_line;
use crate::node_view;
use crate::outcome::Failure;
use crate::print::{self, Tone};

/// Nodes whose last state is remembered, so that only changes are shown.
const MAX_SHOWN: usize = 256;
/// Fields of an answer that people are not shown.
const FOR_PROGRAMS: [&str; 7] = ["found", "is_right", "responded", "of", "certified", "alert_id", "missing"];

/// Where a demo is shown.
pub(super) struct Show {
    json: bool,
    readers: bool,
    last: BTreeMap<String, Map<String, Value>>,
}

impl Show {
    pub(super) fn new(json: bool) -> Self {
        Self { json, readers: true, last: BTreeMap::new() }
    }

    /// Whether anyone still reads.
    pub(super) fn has_readers(&self) -> bool {
        self.readers
    }

    /// A camera was started.
    pub(super) fn started(&mut self, started: &Started) -> Result<(), Failure> {
        self.line(started)
    }

    /// Something happened, as the observer sees it.
    pub(super) fn event(&mut self, event: &Event) -> Result<(), Failure> {
        match &event.what {
            What::State { node_id, state, .. } if !self.json => {
                let changed = self.changed(node_id, state);
                let mut shown = json!({"event": event.what.name(), "at": event.at, "node_id": node_id});
                if let Value::Object(fields) = &mut shown {
                    fields.extend(changed);
                }
                self.line(&shown)
            }
            What::Record { node_id, record, .. } if !self.json => {
                let (hash, kind) = (&record.hash_value, &record.data_type);
                let shown =
                    json!({"event": "record", "at": event.at, "node_id": node_id, "data_type": kind, "hash": hash});
                self.line(&shown)
            }
            // What a camera was answered is told by itself, the observer's own answers as well.
            What::Search { .. } => Ok(()),
            What::PeerUp { .. }
            | What::PeerSuspect { .. }
            | What::PeerFailed { .. }
            | What::PeerLeft { .. }
            | What::State { .. }
            | What::Isolated { .. }
            | What::Missed { .. }
            | _ => self.line(event),
        }
    }

    /// A camera has been answered. People read who has seen the same, and the rest is for programs.
    pub(super) fn answer(&mut self, answer: &Value) -> Result<(), Failure> {
        let mut shown = answer.clone();
        if !self.json
            && let Value::Object(fields) = &mut shown
        {
            fields.retain(|name, _| !FOR_PROGRAMS.contains(&name.as_str()));
            for value in fields.values_mut() {
                if let Some(names) = value.as_array() {
                    let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
                    *value = if names.is_empty() { Value::Null } else { names.join(", ").into() };
                }
            }
        }
        self.line(&shown)
    }

    /// The keys that differ from what was shown last.
    fn changed(&mut self, node_id: &str, state: &Map<String, Value>) -> Map<String, Value> {
        let last = self.last.get(node_id);
        let is_new = |key: &String, value: &Value| last.and_then(|last| last.get(key)) != Some(value);
        let changed = state.iter().filter(|(key, value)| is_new(key, value));
        let changed = changed.map(|(key, value)| (key.clone(), value.clone())).collect();
        if self.last.len() >= MAX_SHOWN {
            self.last.clear();
        }
        self.last.insert(node_id.to_owned(), state.clone());
        changed
    }

    fn line(&mut self, event: &impl Serialize) -> Result<(), Failure> {
        let line = serde_json::to_string(event).expect("an event has no keys but strings");
        let line = if self.json { line } else { event_line::human(&line) };
        self.readers = print::line(&line)?;
        Ok(())
    }

    /// The fleet as the observer knows it.
    pub(super) async fn table(&self, observer: &Mesh) -> Result<(), Failure> {
        if self.json {
            return Ok(());
        }
        node_view::refresh(observer).await;
        let own = observer.state(&observer.name()).unwrap_or_default();
        let mut rows = vec![(Tone::Plain, row(&observer.name(), Liveness::Alive, "-", &own))];
        let mut peers = observer.peers();
        peers.sort_by_key(|peer| (peer.name().len(), peer.name().to_owned()));
        for peer in peers {
            let tone = if peer.is_alive() { Tone::Plain } else { Tone::Faint };
            let heard = print::span_ms(peer.last_heard().as_secs_f64() * 1_000.0);
            let state = observer.state(peer.name()).unwrap_or_default();
            rows.push((tone, row(peer.name(), peer.liveness(), &heard, &state)));
        }
        print::text("\n")?;
        print::table(&["node", "life", "heard", "state", "fps", "battery", "mode", "location"], &rows)?;
        let stats = observer.stats();
        let records = stats.registry.get("records").copied().unwrap_or_default();
        let (name, alerts) = (observer.name(), stats.alerts_sent);
        print::text(&format!("{name} holds {records} sightings of all cameras; alerts of its own: {alerts}\n\n"))
    }
}

fn row(name: &str, liveness: Liveness, heard: &str, state: &StateRow) -> Vec<String> {
    let cell = |key: &str| match state.state.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => "-".to_owned(),
    };
    let doing = NodeState::from_state(&state.state).as_str().to_owned();
    let doing = if liveness == Liveness::Alive { doing } else { NodeState::Offline.as_str().to_owned() };
    let keys = ["processing_fps", "battery_level", "power_mode", "location"].map(cell);
    [name.to_owned(), liveness.as_str().to_owned(), heard.to_owned(), doing].into_iter().chain(keys).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(value: Value) -> Map<String, Value> {
        let Value::Object(state) = value else { panic!("{value} is no object") };
        state
    }

    #[test]
    fn only_what_changed_is_shown() {
        let mut show = Show::new(false);
        let [first, second] = [json!({"fps": 30.0, "mode": "ECO"}), json!({"fps": 29.5, "mode": "ECO"})].map(state);
        assert_eq!(show.changed("camera-1", &first), first);
        assert_eq!(show.changed("camera-1", &second), state(json!({"fps": 29.5})));
        assert_eq!(show.changed("camera-2", &second), second, "another camera");
    }

    #[test]
    fn a_row_shows_what_a_camera_says_and_who_is_gone_does_nothing() {
        let values = state(json!({"processing_fps": 29.5, "location": "gate_a", "state": "processing"}));
        let mut of = StateRow::default();
        of.state = values;
        let alive = row("camera-1", Liveness::Alive, "-", &of);
        assert_eq!(alive, ["camera-1", "alive", "-", "processing", "29.5", "-", "-", "gate_a"]);
        assert_eq!(row("camera-1", Liveness::Left, "3 ms", &of)[3], "offline");
    }
}
