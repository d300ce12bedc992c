//! Decides what a simulated camera says of itself: a state that real cameras published, and how it changes.

use serde_json::{Map, Value, json};

/// States that real cameras published, each with a location of its own.
const STATES: &str = include_str!("states.json");
/// What a camera's program wrote into them beside its state: here the envelope says it, and truly.
const OF_THE_ENVELOPE: [&str; 2] = ["node_id", "timestamp"];
/// Frames a second when there is power enough, and when there is not.
const FULL_FPS: f64 = 30.0;
const SAVING_FPS: f64 = 12.0;
/// Battery level at which a camera saves power and is put on its charger, and at which it is taken off.
const LOW: u64 = 20;
const CHARGED: u64 = 95;

/// A simulated camera.
#[derive(Clone, Debug)]
pub(super) struct Camera {
    state: Map<String, Value>,
    battery: u64,
    charging: bool,
}

impl Camera {
    /// The camera of this number, from 1: the first dozen stand where real ones stood.
    pub(super) fn new(number: usize) -> Self {
        let states: Vec<Map<String, Value>> = serde_json::from_str(STATES).expect("a test reads it");
        let (floor, at) = ((number - 1) / states.len(), (number - 1) % states.len());
        let mut state = states[at].clone();
        state.retain(|key, _| !OF_THE_ENVELOPE.contains(&key.as_str()));
        if floor > 0 {
            let location = state["location"].as_str().unwrap_or_default();
            let location = format!("{location}_{}", floor + 1);
            state.insert("location".to_owned(), location.into());
        }
        // Not all at once empty: each begins somewhere else.
        let battery = 90 - (number as u64 * 7) % 60;
        state.insert("battery_level".to_owned(), battery.into());
        Self { state, battery, charging: false }
    }

    pub(super) fn state(&self) -> Value {
        self.state.clone().into()
    }

    /// The next change: some of the keys with new values.
    pub(super) fn change(&mut self, chance: &mut Chance) -> Value {
        self.charging = if self.charging { self.battery < CHARGED } else { self.battery <= LOW };
        self.battery = if self.charging { (self.battery + 5).min(100) } else { self.battery.saturating_sub(1) };
        let saves = self.battery <= LOW + 10 && !self.charging;
        let full = if saves { SAVING_FPS } else { FULL_FPS };
        #[expect(clippy::cast_precision_loss, reason = "below 60")]
        let fps = full - chance.below(30) as f64 / 10.0;
        let mut change = Map::new();
        let mut set = |key: &str, value: Value| change.insert(key.to_owned(), value);
        set("processing_fps", json!(fps));
        set("battery_level", json!(self.battery));
        set("power_mode", json!(if saves { "ECO" } else { "BALANCED" }));
        set("state", json!(["active", "processing", "processing", "idle"][chance.below(4)]));
        if let Some(count) = self.state.get("total_detections").and_then(Value::as_u64) {
            set("total_detections", json!(count + chance.below(9) as u64));
            set("baggage_count", json!(chance.below(6)));
        }
        change.retain(|key, value| self.state.get(key) != Some(value));
        self.state.extend(change.clone());
        change.into()
    }
}

/// Chance enough for a demo (SplitMix64; Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below the limit, which is not 0.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((x ^ (x >> 31)) % limit as u64).expect("below a usize")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_camera_stands_somewhere_else_and_says_nothing_of_another() {
        let cameras: Vec<Camera> = (1..=50).map(Camera::new).collect();
        let locations: BTreeSet<String> = cameras.iter().map(|camera| camera.state["location"].to_string()).collect();
        assert_eq!(locations.len(), cameras.len());
        assert!(cameras.iter().all(|camera| !camera.state.contains_key("node_id")));
    }

    #[test]
    fn a_camera_changes_for_hours_within_its_bounds() {
        let mut chance = Chance::new(7);
        for number in 1..=3 {
            let mut camera = Camera::new(number);
            let mut modes = BTreeSet::new();
            for n in 0..5_000 {
                let before = camera.state();
                let change = camera.change(&mut chance);
                let keys = change.as_object().expect("an object");
                assert!(keys.iter().all(|(key, value)| before[key] != *value), "{n}: {change}");
                let battery = camera.state["battery_level"].as_u64().expect("a number");
                let fps = camera.state["processing_fps"].as_f64().expect("a number");
                assert!((10..=100).contains(&battery) && (9.0..=30.0).contains(&fps), "{n}: {:?}", camera.state);
                modes.insert(camera.state["power_mode"].to_string());
            }
            assert_eq!(modes.len(), 2, "it saves power now and then");
            assert!(camera.state.len() <= 12);
        }
    }
}
