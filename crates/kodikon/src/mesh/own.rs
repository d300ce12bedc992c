//! Decides what a node's own state is between the moment it is set and the moment the loop has taken it over.

use kodikon_core::ground::time::WallTime;
use kodikon_core::model::state::{NodeSnapshot, StateChange, StateError};
use serde_json::{Map, Value};

use crate::api::StateRow;
use crate::mesh::View;

/// The own state as it will be once the loop has carried out every change that was accepted.
///
/// Whoever sets a key finds it set at once; the loop numbers the changes it has carried out, and once it has caught up its own
/// word counts again.
#[derive(Debug, Clone, Default)]
pub(crate) struct OwnState {
    ahead: NodeSnapshot,
    changes: u64,
}

impl OwnState {
    /// The state after these changes, checked; `None` if they change nothing.
    pub(crate) fn after(
        &self,
        view: &View,
        changes: &[StateChange],
        wall: WallTime,
    ) -> Result<Option<Self>, StateError> {
        let now = self.newest(view);
        let values = now.changed_by(changes)?;
        if values == now.values {
            return Ok(None);
        }
        let ahead = NodeSnapshot { values, version: now.version + 1, changed: wall };
        Ok(Some(Self { ahead, changes: self.changes + 1 }))
    }

    /// The number of the last change.
    pub(crate) fn number(&self) -> u64 {
        self.changes
    }

    /// The newest of what was accepted and what was carried out.
    pub(crate) fn newest<'a>(&'a self, view: &'a View) -> &'a NodeSnapshot {
        if view.own_changes >= self.changes { &view.own } else { &self.ahead }
    }
}

/// A snapshot as people see it.
pub(crate) fn row_of(snapshot: &NodeSnapshot) -> StateRow {
    let value = |json: &String| serde_json::from_str(json).unwrap_or(Value::Null);
    let state: Map<String, Value> = snapshot.values.iter().map(|(key, json)| (key.clone(), value(json))).collect();
    StateRow { version: snapshot.version, timestamp: snapshot.changed.seconds(), state }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn set(key: &str, json: &str) -> Vec<StateChange> {
        vec![StateChange { key: key.to_owned(), json: Some(json.to_owned()) }]
    }

    #[test]
    fn a_change_is_seen_at_once_and_the_loops_word_counts_when_it_has_caught_up() {
        let mut view = View::default();
        let own = OwnState::default().after(&view, &set("fps", "30"), WallTime(1)).unwrap().unwrap();
        let own = own.after(&view, &set("mode", "\"day\""), WallTime(2)).unwrap().unwrap();
        assert_eq!(own.newest(&view).values.len(), 2, "the second change stands on the first");

        view.own_changes = 1;
        assert_eq!(own.newest(&view).values.len(), 2, "the loop has carried out only one");
        view.own_changes = 2;
        view.own = Arc::new(NodeSnapshot { version: 9, ..NodeSnapshot::default() });
        assert_eq!(own.newest(&view).version, 9);
    }

    #[test]
    fn what_breaks_a_limit_changes_nothing() {
        let view = View::default();
        let own = OwnState::default();
        assert!(own.after(&view, &set("", "1"), WallTime(0)).is_err());
        assert_eq!(own.number(), 0);
    }

    #[test]
    fn what_changes_nothing_is_no_change() {
        let held = NodeSnapshot { values: [("fps".to_owned(), "30".to_owned())].into(), ..NodeSnapshot::default() };
        let view = View { own: Arc::new(held), ..View::default() };
        let unset = [StateChange { key: "mode".to_owned(), json: None }];
        assert!(OwnState::default().after(&view, &set("fps", "30"), WallTime(1)).unwrap().is_none());
        assert!(OwnState::default().after(&view, &unset, WallTime(1)).unwrap().is_none());
    }
}
