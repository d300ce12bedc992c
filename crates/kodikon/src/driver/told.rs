//! Decides under which name events tell of a peer, so that whoever keys by it is told of each change of it.

use std::collections::BTreeMap;

use kodikon_core::ground::id::NodeId;

use crate::mesh::View;

/// The names under which peers were told of last; of those alone who are in the rows.
#[derive(Debug, Default)]
pub(super) struct Told {
    names: BTreeMap<NodeId, String>,
}

impl Told {
    /// Those present who are shown by another name than they were told of, and that one; from here on the new one is told.
    pub(super) fn renamed(&mut self, view: &View) -> Vec<(NodeId, String)> {
        let mut left = std::mem::take(&mut self.names);
        let mut renamed = Vec::new();
        for row in &view.peers {
            let Some(name) = left.remove(&row.id) else { continue };
            // A name that others bear, too, is cut short when its bearer is gone: it goes on by what it was told of.
            let is_other = row.liveness.is_present() && row.name != name;
            self.names.insert(row.id, if is_other { row.name.clone() } else { name.clone() });
            if is_other {
                renamed.push((row.id, name));
            }
        }
        renamed
    }

    /// A peer is told of by this name as one that is here; returns another by which it was told of before.
    pub(super) fn note(&mut self, id: NodeId, name: &str) -> Option<String> {
        self.names.insert(id, name.to_owned()).filter(|before| before != name)
    }

    /// The name of a node in events; `then` is what the core called it.
    pub(super) fn name_of(&self, id: &NodeId, then: &str, view: &View) -> String {
        if *id == view.id {
            return view.name.clone();
        }
        let row = view.peers.iter().find(|row| row.id == *id);
        let told = || self.names.get(id).cloned();
        match row {
            Some(row) if row.liveness.is_present() => row.name.clone(),
            Some(row) => told().unwrap_or_else(|| row.name.clone()),
            None => told().unwrap_or_else(|| then.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use kodikon_core::model::member::Liveness;

    use super::*;
    use crate::testing::peer_view;

    #[test]
    fn a_name_that_changes_is_told_once_and_a_lost_peer_keeps_the_one_it_was_told_of() {
        let id = NodeId([2; 16]);
        let view = |name: &str, liveness: Liveness| View {
            peers: vec![kodikon_core::effect::PeerView { liveness, ..peer_view(id, name) }],
            ..View::default()
        };
        let mut told = Told::default();
        let first = view("cam@0202", Liveness::Alive);
        assert_eq!(told.renamed(&first), [], "it was not told of yet");
        assert_eq!(told.note(id, "cam@0202"), None);
        assert_eq!(told.renamed(&first), []);
        let second = view("cam-2", Liveness::Suspect);
        assert_eq!(told.renamed(&second), [(id, "cam@0202".to_owned())]);
        assert_eq!(told.renamed(&second), []);
        let lost = view("cam", Liveness::Failed);
        assert_eq!(told.renamed(&lost), []);
        assert_eq!(told.name_of(&id, "cam", &lost), "cam-2", "`cam` is another by now, perhaps");
        assert_eq!(told.note(id, "cam"), Some("cam-2".to_owned()), "it comes back by another name");
        assert_eq!(told.renamed(&View::default()), []);
        assert_eq!(told.name_of(&id, "cam", &View::default()), "cam");
        assert!(told.names.is_empty(), "who is in no row any more is forgotten");
    }
}
