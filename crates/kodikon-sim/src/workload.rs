//! Decides what the applications of a run do: cameras that publish their state as real ones do.

pub mod alerts;
pub mod casts;
pub mod letters;
pub mod records;
pub mod searches;

use core::time::Duration;

use kodikon_core::effect::Command;
use kodikon_core::ground::random::Random;
use kodikon_core::ground::time::WallTime;
use kodikon_core::model::state::{NODE_STATES, StateChange};

use crate::chance::exponential;
use crate::moment::Moment;

/// The applications.
#[derive(Debug)]
pub struct Workload {
    random: Random,
    gap: Option<Duration>,
    nodes: usize,
}

impl Workload {
    /// Applications on this many nodes, each of which changes its state once in `every` on average; `None`: never.
    #[must_use]
    pub fn new(random: Random, nodes: usize, every: Option<Duration>) -> Self {
        let gap = every.map(|every| every / u32::try_from(nodes.max(1)).expect("a run has few nodes"));
        Self { random, gap, nodes }
    }

    /// When the next application changes its state.
    pub fn next(&mut self, now: Moment) -> Option<Moment> {
        self.gap.map(|gap| now + exponential(&mut self.random, gap))
    }

    /// Which application changes its state now.
    pub fn who(&mut self) -> usize {
        self.random.place(self.nodes)
    }

    /// What it changes: a few of the keys that real cameras publish, now and then a large one, now and then away.
    pub fn change(&mut self, wall: WallTime) -> Command {
        let count = 1 + self.random.below(3);
        let changes = (0..count).map(|_| self.one()).collect();
        Command::SetState(changes, wall)
    }

    fn one(&mut self) -> StateChange {
        let number = self.random.below(1_000_000);
        let (key, json) = match self.random.below(7) {
            0 => ("processing_fps", format!("{}.{}", number % 60, number % 10)),
            1 => ("battery_level", (number % 101).to_string()),
            2 => ("location", format!("\"gate {number}\"")),
            3 => ("state", format!("\"{}\"", NODE_STATES[usize::try_from(number % 4).expect("below 4")])),
            4 => ("yolo_model", format!("\"yolov8-{number}\"")),
            5 => ("note", format!("\"{}\"", "x".repeat(usize::try_from(number % 900).expect("below 900")))),
            _ => ("embedding_dim", (number % 4_096).to_string()),
        };
        // The condition of a node is never taken back.
        let unset = key != "state" && self.random.below(10) == 0;
        StateChange { key: key.to_owned(), json: (!unset).then_some(json) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::source;
    use kodikon_core::model::state::NodeSnapshot;

    #[test]
    fn every_change_is_one_that_a_node_accepts() {
        let mut workload = Workload::new(source(1, "workload"), 3, Some(Duration::from_secs(30)));
        for _ in 0..1_000 {
            let Command::SetState(changes, _) = workload.change(WallTime(0)) else { panic!("a change of state") };
            assert!(NodeSnapshot::default().changed_by(&changes).is_ok(), "{changes:?}");
        }
    }
}
