//! Decides what a node is started with: options are checked by the same rules as the configuration file, all at once, at the start.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kodikon_core::ground::config::{Config, MAX_PEERS, Profile, Security};
use kodikon_core::model::state::NodeSnapshot;
use serde_json::Value;

use crate::driver::{self, Home, Plan};
use crate::events::EventStream;
use crate::mesh::{Mesh, MeshError, StartError, changes_of};
use crate::mesh_key::MeshKey;
use crate::settings::{Choice as _, Flag, Key, Origin, Settings, Sources};

/// A node that is about to be started. Options not given have the defaults of the configuration file.
#[derive(Debug, Clone)]
#[must_use = "nothing runs before `start`"]
pub struct Builder {
    settings: Option<Settings>,
    options: Vec<Flag>,
    home: Option<Home>,
    key: Option<MeshKey>,
    state: Option<Value>,
}

impl Builder {
    pub(crate) fn new(node_name: &str) -> Self {
        let builder = Self { settings: None, options: Vec::new(), home: None, key: None, state: None };
        builder.option("Mesh::builder()", Key::NodeId, node_name.to_owned())
    }

    /// Takes these settings instead of the defaults; options given before or after go over them, and so does the name.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = Some(settings);
        self
    }

    /// Keeps identity and state in this directory, which one process at a time may use.
    pub fn data_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.home = Some(Home::Directory(directory.into()));
        self
    }

    /// The same, but takes `directory-2`, `directory-3`… where another process uses those before.
    pub fn data_dir_or_next(mut self, directory: impl Into<PathBuf>) -> Self {
        self.home = Some(Home::FirstFree(directory.into()));
        self
    }

    /// Keeps nothing: a new identity at each start.
    pub fn in_memory(mut self) -> Self {
        self.home = Some(Home::Memory);
        self
    }

    /// What this node publishes of itself from the start: a JSON object. Keys that the data directory remembers stay
    /// unless they are named here.
    pub fn state(mut self, state: Value) -> Self {
        self.state = Some(state);
        self
    }

    /// Admits only nodes that hold this key.
    pub fn mesh_key(mut self, key: MeshKey) -> Self {
        self.key = Some(key);
        self
    }

    /// Which fleet to join: fleets of different names never meet. Default `kodikon`.
    pub fn mesh_name(self, name: &str) -> Self {
        self.option("mesh_name()", Key::MeshName, name.to_owned())
    }

    /// The discovery port, which all nodes of a LAN share; the node's own is the first free of the next 64. Default 9999.
    pub fn udp_port(self, port: u16) -> Self {
        self.option("udp_port()", Key::UdpPort, port.to_string())
    }

    /// The interfaces to use, by name. Default: every usable one.
    pub fn interfaces<S: Into<String>>(self, names: impl IntoIterator<Item = S>) -> Self {
        self.list("interfaces()", Key::Interfaces, names)
    }

    /// Where else to look for the mesh, as HOST:PORT: peers that no multicast reaches. Default: nowhere.
    pub fn peers<S: Into<String>>(self, addresses: impl IntoIterator<Item = S>) -> Self {
        self.list("peers()", Key::Peers, addresses)
    }

    /// How soon a silent peer is given up. Default `lan`.
    pub fn profile(self, profile: Profile) -> Self {
        self.option("profile()", Key::Profile, word(profile))
    }

    /// Time between beacons. Default 5 s.
    pub fn broadcast_interval(self, interval: Duration) -> Self {
        self.span("broadcast_interval()", Key::BroadcastInterval, interval)
    }

    /// How often each observer hears this node. Default 5 s.
    pub fn heartbeat_interval(self, interval: Duration) -> Self {
        self.span("heartbeat_interval()", Key::HeartbeatInterval, interval)
    }

    /// Silence that ends in `failed` whatever else is true. Default 30 s.
    pub fn heartbeat_timeout(self, timeout: Duration) -> Self {
        self.span("heartbeat_timeout()", Key::HeartbeatTimeout, timeout)
    }

    /// Peers held at once. Default 4,096; without a mesh key at most 256.
    pub fn max_peers(self, most: usize) -> Self {
        self.option("max_peers()", Key::MaxPeers, most.to_string())
    }

    /// Starts the node: it listens and has said hello when this returns. Works under any executor.
    ///
    /// # Errors
    /// A wrong option, a data directory or ports that cannot be used, or what the system refuses; each says what to do.
    #[doc(alias = "MeshProtocol")]
    pub async fn start(self) -> Result<Mesh, StartError> {
        Ok(self.start_watched().await?.0)
    }

    /// The same, and gives everything that happens from the very start: [`Mesh::events`] begins when it is called, and a
    /// neighbour may have answered before.
    ///
    /// # Errors
    /// As [`Builder::start`].
    pub async fn start_watched(self) -> Result<(Mesh, EventStream), StartError> {
        driver::start(self.plan()?).await
    }

    fn option(self, name: &'static str, key: Key, value: String) -> Self {
        self.flag(name, key, vec![value])
    }

    fn list<S: Into<String>>(self, name: &'static str, key: Key, values: impl IntoIterator<Item = S>) -> Self {
        self.flag(name, key, values.into_iter().map(Into::into).collect())
    }

    fn span(self, name: &'static str, key: Key, span: Duration) -> Self {
        self.option(name, key, format!("{}ms", span.as_millis()))
    }

    /// An option given twice counts as given last.
    fn flag(mut self, name: &'static str, key: Key, values: Vec<String>) -> Self {
        self.options.retain(|flag| flag.key != key);
        self.options.push(Flag { name, key, values });
        self
    }

    fn plan(self) -> Result<Plan, StartError> {
        let settings = match self.settings {
            None => Settings::load(&Sources { flags: self.options, ..Sources::default() })?,
            Some(mut settings) => {
                for flag in &self.options {
                    settings.set(flag.key, &flag.values.join(","))?;
                }
                settings.check()?;
                settings
            }
        };
        let key = match &self.key {
            Some(key) => Some(key.clone()),
            None => settings.read_mesh_key()?,
        };
        let settled = settings.data_dir.value.as_deref().map(|directory| Home::Directory(Path::to_owned(directory)));
        let state = self.state.map_or_else(|| Ok(Vec::new()), |state| changes_of(&state))?;
        NodeSnapshot::default().changed_by(&state).map_err(MeshError::from)?;
        Ok(Plan {
            config: config(&settings, key.as_ref()),
            peers: settings.peers.value.clone(),
            interfaces: settings.interfaces.value.clone(),
            home: self.home.or(settled).ok_or(StartError::NoDataDir)?,
            state,
            max_peers_origin: origin_of(&settings.max_peers.origin),
        })
    }
}

/// Where a setting was written, if it was.
fn origin_of(origin: &Origin) -> Option<String> {
    (*origin != Origin::Default).then(|| origin.to_string())
}

fn word(profile: Profile) -> String {
    let found = Profile::ALL.iter().find(|(_, other)| *other == profile);
    found.map(|(word, _)| (*word).to_owned()).expect("every profile has its word")
}

/// The core's part of the settings.
fn config(settings: &Settings, key: Option<&MeshKey>) -> Config {
    let name = settings.node_id.value.as_deref().expect("a builder is made with a name");
    let mut config = Config::new(name);
    config.mesh_name = settings.mesh_name.value.clone();
    config.broadcast_interval = settings.broadcast_interval.value;
    config.heartbeat_interval = settings.heartbeat_interval.value;
    config.heartbeat_timeout = settings.heartbeat_timeout.value;
    config.profile = settings.profile.value;
    config.max_hops = settings.max_hops.value;
    config.deletes = settings.deletes.value;
    config.discovery_port = settings.udp_port.value;
    (config.security, config.max_peers) = match key {
        Some(key) => (Security::Key(key.bytes().clone()), settings.max_peers.value.min(MAX_PEERS)),
        None => (Security::Open, settings.peer_limit()),
    };
    config
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refusal(builder: Builder) -> String {
        builder.plan().expect_err("it is wrong").to_string()
    }

    #[test]
    fn a_wrong_option_is_named_with_what_would_be_right() {
        let table = [
            (Builder::new("").in_memory(), "Mesh::builder(): mesh.node_id"),
            (Builder::new("a").in_memory().udp_port(65_535), "udp_port(): mesh.udp_port: is 65535; allowed: 1 to"),
            (Builder::new("a").in_memory().peers(["nowhere"]), "peers(): mesh.peers"),
            (Builder::new("a").in_memory().heartbeat_timeout(Duration::from_secs(6)), "mesh.heartbeat_timeout"),
            (
                Builder::new("a").in_memory().settings(Settings::default()).heartbeat_timeout(Duration::from_secs(6)),
                "mesh.heartbeat_timeout",
            ),
            (
                Builder::new("a").in_memory().settings(Settings::default()).heartbeat_interval(Duration::from_secs(60)),
                "mesh.heartbeat_timeout",
            ),
            (Builder::new("a"), "data_dir("),
            (Builder::new("a").in_memory().state(json!([1])), "JSON object"),
            (Builder::new("a").in_memory().state(json!({"state": "asleep"})), "\"processing\""),
        ];
        for (builder, expected) in table {
            let message = refusal(builder);
            assert!(message.contains(expected), "{message:?} should say {expected:?}");
        }
    }

    #[test]
    fn options_reach_the_core() {
        let builder = Builder::new("cam")
            .in_memory()
            .mesh_name("fleet")
            .udp_port(12_345)
            .profile(Profile::Fast)
            .heartbeat_interval(Duration::from_millis(1_500))
            .interfaces(["lo", "eth0"])
            .peers(["10.0.0.1:9999"])
            .max_peers(10)
            .max_peers(20);
        let plan = builder.plan().unwrap();
        assert_eq!((plan.config.node_name.as_str(), plan.config.mesh_name.as_str()), ("cam", "fleet"));
        assert_eq!((plan.config.discovery_port, plan.config.profile), (12_345, Profile::Fast));
        assert_eq!(plan.config.heartbeat_interval, Duration::from_millis(1_500));
        assert_eq!((plan.interfaces.len(), plan.peers.len(), plan.config.max_peers), (2, 1, 20));
    }

    #[test]
    fn an_open_mesh_holds_at_most_256_peers_and_one_with_a_key_4096() {
        let open = Builder::new("a").in_memory();
        assert_eq!(open.clone().plan().unwrap().config.max_peers, 256);
        let closed = open.mesh_key(MeshKey::generate().unwrap());
        assert_eq!(closed.plan().unwrap().config.max_peers, 4_096);
    }
}
