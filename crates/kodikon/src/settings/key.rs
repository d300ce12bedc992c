//! The names of the settings, in files, in the environment, and nearly right.

use super::problem::Wrong;
use crate::spelling::nearest_key;

/// A setting. Its `Display` is its dotted name in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Key {
    /// `mesh.name`
    MeshName,
    /// `mesh.node_id`
    NodeId,
    /// `mesh.broadcast_interval`
    BroadcastInterval,
    /// `mesh.heartbeat_interval`
    HeartbeatInterval,
    /// `mesh.heartbeat_timeout`
    HeartbeatTimeout,
    /// `mesh.max_peers`
    MaxPeers,
    /// `mesh.udp_port`
    UdpPort,
    /// `mesh.max_hops`
    MaxHops,
    /// `mesh.profile`
    Profile,
    /// `mesh.key`
    MeshKey,
    /// `mesh.peers`
    Peers,
    /// `mesh.interfaces`
    Interfaces,
    /// `registry.deletes`
    Deletes,
    /// `api.address`
    ApiAddress,
    /// `log.format`
    LogFormat,
    /// `log.level`
    LogLevel,
    /// `data_dir`
    DataDir,
}

impl Key {
    /// Every setting, in the order they are shown.
    pub const ALL: [Self; 17] = [
        Self::MeshName,
        Self::NodeId,
        Self::BroadcastInterval,
        Self::HeartbeatInterval,
        Self::HeartbeatTimeout,
        Self::MaxPeers,
        Self::UdpPort,
        Self::MaxHops,
        Self::Profile,
        Self::MeshKey,
        Self::Peers,
        Self::Interfaces,
        Self::Deletes,
        Self::ApiAddress,
        Self::LogFormat,
        Self::LogLevel,
        Self::DataDir,
    ];

    /// The name in a file, sections first: `mesh.udp_port`.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::MeshName => "mesh.name",
            Self::NodeId => "mesh.node_id",
            Self::BroadcastInterval => "mesh.broadcast_interval",
            Self::HeartbeatInterval => "mesh.heartbeat_interval",
            Self::HeartbeatTimeout => "mesh.heartbeat_timeout",
            Self::MaxPeers => "mesh.max_peers",
            Self::UdpPort => "mesh.udp_port",
            Self::MaxHops => "mesh.max_hops",
            Self::Profile => "mesh.profile",
            Self::MeshKey => "mesh.key",
            Self::Peers => "mesh.peers",
            Self::Interfaces => "mesh.interfaces",
            Self::Deletes => "registry.deletes",
            Self::ApiAddress => "api.address",
            Self::LogFormat => "log.format",
            Self::LogLevel => "log.level",
            Self::DataDir => "data_dir",
        }
    }

    /// The environment variable: `KODIKON_MESH_UDP_PORT`.
    #[must_use]
    pub fn variable(self) -> String {
        format!("KODIKON_{}", self.path().replace('.', "_").to_uppercase())
    }

    /// Whether it holds a list.
    #[must_use]
    pub const fn is_list(self) -> bool {
        matches!(self, Self::Peers | Self::Interfaces)
    }

    /// The setting of a section by its name there.
    pub(crate) fn find(section: &str, leaf: &str) -> Result<Self, Wrong> {
        let fits = |key: &&Self| key.path().split_once('.') == Some((section, leaf));
        Self::ALL.iter().find(fits).copied().ok_or_else(|| {
            let leaves: Vec<&str> = leaves(section).collect();
            let near = nearest_key(leaf, leaves.iter().copied()).map(|near| format!("{section}.{near}"));
            let near = near.or_else(|| elsewhere(leaf));
            Wrong::UnknownKey { near, known: leaves.into_iter().map(str::to_owned).collect() }
        })
    }

    /// What a name at the top of a file is to us.
    pub(crate) fn at_top(name: &str, is_section: bool) -> Top {
        if SECTIONS.contains(&name) {
            return Top::Section;
        }
        if name == Self::DataDir.path() {
            return Top::Key(Self::DataDir);
        }
        let tops = SECTIONS.into_iter().chain([Self::DataDir.path()]);
        let near = nearest_key(name, tops).map(str::to_owned);
        let near = near.or_else(|| if is_section { None } else { elsewhere(name) });
        near.map_or(Top::Foreign, |near| Top::Mistake(Wrong::UnknownKey { near: Some(near), known: Vec::new() }))
    }

    /// What an environment variable that begins with `KODIKON_` is to us.
    pub(crate) fn of_variable(name: &str) -> Top {
        if let Some(key) = Self::ALL.into_iter().find(|key| key.variable() == name) {
            return Top::Key(key);
        }
        let known: Vec<String> = Self::ALL.into_iter().map(Self::variable).collect();
        let ours = SECTIONS.iter().any(|section| {
            name.strip_prefix("KODIKON_").is_some_and(|rest| rest.starts_with(&format!("{}_", section.to_uppercase())))
        });
        let near = closest_variable(name, &known);
        if ours || near.is_some() { Top::Mistake(Wrong::UnknownKey { near, known }) } else { Top::Foreign }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.path())
    }
}

/// The sections of a file that are ours.
pub(crate) const SECTIONS: [&str; 4] = ["mesh", "registry", "api", "log"];

/// What a name outside our sections means.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Top {
    Section,
    Key(Key),
    /// Another part of Kodikon keeps its settings in the same file.
    Foreign,
    Mistake(Wrong),
}

/// The names within a section.
fn leaves(section: &str) -> impl Iterator<Item = &'static str> {
    Key::ALL.into_iter().filter_map(move |key| match key.path().split_once('.') {
        Some((inside, leaf)) if inside == section => Some(leaf),
        _ => None,
    })
}

/// The setting of that very name in any section: `udp_port` written at the top is `mesh.udp_port`.
fn elsewhere(leaf: &str) -> Option<String> {
    let fits = |key: &Key| key.path().rsplit('.').next() == Some(leaf);
    Key::ALL.into_iter().find(fits).map(|key| key.path().to_owned())
}

/// Of two names that share a long prefix only the rest counts, or every `KODIKON_…` would be near every other.
fn closest_variable(name: &str, known: &[String]) -> Option<String> {
    let rest = |text: &str| text.strip_prefix("KODIKON_").unwrap_or(text).to_lowercase();
    let bare: Vec<String> = known.iter().map(|variable| rest(variable)).collect();
    let found = nearest_key(&rest(name), bare.iter().map(String::as_str))?;
    Some(format!("KODIKON_{}", found.to_uppercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(wrong: Wrong) -> Option<String> {
        let Wrong::UnknownKey { near, .. } = wrong else { panic!("not an unknown key: {wrong}") };
        near
    }

    #[test]
    fn every_key_is_found_by_its_name_and_by_its_variable() {
        for key in Key::ALL {
            if let Some((section, leaf)) = key.path().split_once('.') {
                assert_eq!(Key::find(section, leaf), Ok(key));
                assert_eq!(Key::at_top(section, true), Top::Section);
            } else {
                assert_eq!(Key::at_top(key.path(), false), Top::Key(key));
            }
            assert_eq!(Key::of_variable(&key.variable()), Top::Key(key));
        }
        assert_eq!(Key::UdpPort.variable(), "KODIKON_MESH_UDP_PORT");
    }

    #[test]
    fn an_unknown_key_in_our_section_is_a_mistake_with_a_suggestion() {
        for (section, leaf, expected) in [
            ("mesh", "udp_prot", Some("mesh.udp_port")),
            ("mesh", "max_peer", Some("mesh.max_peers")),
            ("mesh", "deletes", Some("registry.deletes")),
            ("log", "formt", Some("log.format")),
            ("mesh", "encryption", None),
        ] {
            let found = near(Key::find(section, leaf).expect_err("there is no such key"));
            assert_eq!(found.as_deref(), expected, "{section}.{leaf}");
        }
    }

    #[test]
    fn a_foreign_section_is_left_alone_and_a_misspelt_one_is_not() {
        for (name, is_section, expected) in [
            ("camera", true, None),
            ("yolo", true, None),
            ("reid", true, None),
            ("power", true, None),
            ("streaming", true, None),
            ("logging", true, None),
            ("format", true, None),
            ("version", false, None),
            ("mehs", true, Some("mesh")),
            ("Mesh", true, Some("mesh")),
            ("registy", true, Some("registry")),
            ("data-dir", false, Some("data_dir")),
            ("udp_port", false, Some("mesh.udp_port")),
        ] {
            let found = match Key::at_top(name, is_section) {
                Top::Mistake(wrong) => near(wrong),
                Top::Foreign => None,
                Top::Section | Top::Key(_) => panic!("{name} is not ours"),
            };
            assert_eq!(found.as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn a_variable_of_another_program_is_left_alone_and_a_misspelt_one_is_not() {
        for (name, expected) in [
            ("KODIKON_API", None),
            ("KODIKON_NETNS", None),
            ("KODIKON_CAMERA_FPS", None),
            ("KODIKON_MESH_UDP_PROT", Some("KODIKON_MESH_UDP_PORT")),
            ("KODIKON_DATADIR", Some("KODIKON_DATA_DIR")),
        ] {
            let found = match Key::of_variable(name) {
                Top::Mistake(wrong) => near(wrong),
                Top::Foreign => None,
                Top::Section | Top::Key(_) => panic!("{name} is not ours"),
            };
            assert_eq!(found.as_deref(), expected, "{name}");
        }
        assert!(matches!(Key::of_variable("KODIKON_MESH_COLOUR"), Top::Mistake(_)), "within our section");
    }
}
