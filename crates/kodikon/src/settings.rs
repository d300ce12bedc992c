//! The settings of a node: defaults, files, environment and flags laid over one another, each value checked once and knowing its origin.
//!
//! Precedence: defaults < `/etc/kodikon.yaml` < the user's file < `--config FILE` < `KODIKON_*` < flags. Every value that is written
//! anywhere must be right, also where a later layer overrides it. Within our sections an unknown key is an error; a whole section
//! of another name is left to the other parts of Kodikon, which keep theirs in the same file, unless it is nearly ours (`mehs:`).

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use kodikon_core::ground::config::{Deletes, Profile};
use kodikon_core::ground::config::{MAX_PEERS, MAX_PEERS_OPEN};
use serde_json::{Value, json};

use crate::mesh_key::MeshKey;

use self::choice::word;
pub use self::choice::{Choice, LogFormat, LogLevel};
pub use self::key::Key;
use self::key::Top;
pub use self::problem::{Notice, Origin, Problem, Problems, Wrong};
pub use self::value::ApiAddress;
use self::value::{HOST_PORT, INTERFACE, MESH_NAME, NODE_NAME, PATH, Place, Raw, show_span};
use self::yaml::Node;

mod choice;
mod key;
mod problem;
mod value;
mod yaml;

#[cfg(test)]
mod tests;

/// How many ports above `mesh.udp_port` a node tries for its own.
pub const PORTS_TRIED: u16 = 64;

/// A value and where it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Setting<T> {
    /// The value.
    pub value: T,
    /// Where it comes from.
    pub origin: Origin,
}

impl<T> Setting<T> {
    const fn new(value: T) -> Self {
        Self { value, origin: Origin::Default }
    }

    fn put(&mut self, value: T, origin: Origin) {
        *self = Self { value, origin };
    }
}

/// Every setting of a node, checked.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Settings {
    /// `mesh.name`: fleets of different name never meet. Default `kodikon`.
    pub mesh_name: Setting<String>,
    /// `mesh.node_id`: what people call this node. Default: made from the machine's name by whoever starts it.
    pub node_id: Setting<Option<String>>,
    /// `mesh.broadcast_interval`: time between beacons. Default 5 s, as the seed's.
    pub broadcast_interval: Setting<Duration>,
    /// `mesh.heartbeat_interval`: how often each observer hears this node. Default 5 s, as the seed's.
    pub heartbeat_interval: Setting<Duration>,
    /// `mesh.heartbeat_timeout`: the hard bound; a failed peer leaves the table after it. Default 30 s, as the seed's.
    pub heartbeat_timeout: Setting<Duration>,
    /// `mesh.max_peers`: the peers that are kept. Default 4,096; see [`Settings::peer_limit`].
    pub max_peers: Setting<usize>,
    /// `mesh.udp_port`: the discovery port; a node's own is the first free one of the next [`PORTS_TRIED`]. Default 9999, as the seed's.
    pub udp_port: Setting<u16>,
    /// `mesh.max_hops`: relays on the way of a message. Default 5, as the seed's.
    pub max_hops: Setting<u8>,
    /// `mesh.profile`: how soon a silent peer is given up. Default `lan`.
    pub profile: Setting<Profile>,
    /// `mesh.key`: the mesh key file. Default none: an open mesh.
    pub mesh_key: Setting<Option<PathBuf>>,
    /// `mesh.peers`: HOST:PORT of peers that broadcasts do not reach. Default none.
    pub peers: Setting<Vec<String>>,
    /// `mesh.interfaces`: the interfaces to use. Default none: every usable one.
    pub interfaces: Setting<Vec<String>>,
    /// `registry.deletes`: who may delete a record; the same in the whole mesh. Default `all`.
    pub deletes: Setting<Deletes>,
    /// `api.address`: where the API listens. Default `auto`: 127.0.0.1:8888 or the next free port.
    pub api_address: Setting<ApiAddress>,
    /// `log.format`. Default `text`.
    pub log_format: Setting<LogFormat>,
    /// `log.level`. Default `info`.
    pub log_level: Setting<LogLevel>,
    /// `data_dir`: where identity, state and `api.json` lie. Default: the platform's data folder, chosen by whoever starts the node.
    pub data_dir: Setting<Option<PathBuf>>,
    notices: Vec<Notice>,
}

impl Default for Settings {
    fn default() -> Self {
        let seconds = |number| Setting::new(Duration::from_secs(number));
        Self {
            mesh_name: Setting::new("kodikon".to_owned()),
            node_id: Setting::default(),
            broadcast_interval: seconds(5),
            heartbeat_interval: seconds(5),
            heartbeat_timeout: seconds(30),
            max_peers: Setting::new(MAX_PEERS),
            udp_port: Setting::new(9_999),
            max_hops: Setting::new(5),
            profile: Setting::default(),
            mesh_key: Setting::default(),
            peers: Setting::default(),
            interfaces: Setting::default(),
            deletes: Setting::default(),
            api_address: Setting::default(),
            log_format: Setting::default(),
            log_level: Setting::default(),
            data_dir: Setting::default(),
            notices: Vec::new(),
        }
    }
}

/// A file to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsFile {
    /// Where it lies.
    pub path: PathBuf,
    /// Whether it is an error that it does not.
    pub required: bool,
}

/// A flag that was given, once or, for a list, several times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// As it is written: `--udp-port`.
    pub name: &'static str,
    /// What it sets.
    pub key: Key,
    /// Its values.
    pub values: Vec<String>,
}

/// Everything the settings are read from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// Later ones override earlier ones.
    pub files: Vec<SettingsFile>,
    /// Variables; those that do not begin with `KODIKON_` are not looked at.
    pub environment: Vec<(String, String)>,
    /// Flags.
    pub flags: Vec<Flag>,
}

impl Settings {
    /// Lays all sources over the defaults and checks every value.
    ///
    /// # Errors
    ///
    /// All that is wrong in any source, each with its place and what would be right.
    pub fn load(sources: &Sources) -> Result<Self, Problems> {
        let mut settings = Self::default();
        let mut problems = Problems::default();
        for file in &sources.files {
            settings.read_file(file, &mut problems);
        }
        for (name, text) in sources.environment.iter().filter(|(name, _)| name.starts_with("KODIKON_")) {
            match Key::of_variable(name) {
                Top::Key(key) => {
                    settings.apply(key, &Raw::Loose(text.clone()), &Origin::Environment(name.clone()), &mut problems);
                }
                Top::Mistake(wrong) => {
                    problems.push(Problem { origin: Origin::Environment(name.clone()), key: None, wrong });
                }
                Top::Foreign | Top::Section => {}
            }
        }
        for Flag { name, key, values } in &sources.flags {
            let raw = match values.as_slice() {
                [value] if !key.is_list() => Raw::Loose(value.clone()),
                values => Raw::Words(values.to_vec()),
            };
            settings.apply(*key, &raw, &Origin::Flag(name), &mut problems);
        }
        if problems.is_empty() {
            settings.check_times(&mut problems);
            settings.note_limit();
            settings.note_key_file();
        }
        if problems.is_empty() { Ok(settings) } else { Err(problems) }
    }

    /// Sets one value from its text, as a program that embeds the node may.
    ///
    /// # Errors
    ///
    /// What is wrong with the text; nothing is changed then.
    pub fn set(&mut self, key: Key, text: &str) -> Result<(), Problems> {
        let mut problems = Problems::default();
        self.apply(key, &Raw::Loose(text.to_owned()), &Origin::Program, &mut problems);
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// Checks what no value is guilty of alone, once the last one is set.
    ///
    /// # Errors
    ///
    /// What does not go together.
    pub fn check(&self) -> Result<(), Problems> {
        let mut problems = Problems::default();
        self.check_times(&mut problems);
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// Reads the key file that is named, if one is.
    ///
    /// # Errors
    ///
    /// Why there is no key in it, and where the file was named.
    pub fn read_mesh_key(&self) -> Result<Option<MeshKey>, Problems> {
        let read = self.mesh_key.value.as_deref().map(MeshKey::read).transpose();
        read.map_err(|error| {
            let (origin, key) = (self.mesh_key.origin.clone(), Some(Key::MeshKey.path().to_owned()));
            let mut problems = Problems::default();
            problems.push(Problem { origin, key, wrong: Wrong::KeyFile(error.to_string()) });
            problems
        })
    }

    /// The peers this node keeps: `mesh.max_peers`, and at most 256 without a key: then anyone on the LAN can claim to be many.
    #[must_use]
    pub fn peer_limit(&self) -> usize {
        self.max_peers.value.min(self.most_peers())
    }

    const fn most_peers(&self) -> usize {
        if self.mesh_key.value.is_some() { MAX_PEERS } else { MAX_PEERS_OPEN }
    }

    /// What should be told though it is no error.
    #[must_use]
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    /// Every setting with its value as JSON and its origin, in the order of [`Key::ALL`]. Of `mesh.max_peers` it is what counts:
    /// [`Settings::peer_limit`].
    #[must_use]
    pub fn rows(&self) -> Vec<(Key, Value, &Origin)> {
        Key::ALL.into_iter().map(|key| self.row(key)).collect()
    }

    fn row(&self, key: Key) -> (Key, Value, &Origin) {
        let (value, origin) = match key {
            Key::MeshName => (json!(self.mesh_name.value), &self.mesh_name.origin),
            Key::NodeId => (json!(self.node_id.value), &self.node_id.origin),
            Key::BroadcastInterval => (seconds(&self.broadcast_interval), &self.broadcast_interval.origin),
            Key::HeartbeatInterval => (seconds(&self.heartbeat_interval), &self.heartbeat_interval.origin),
            Key::HeartbeatTimeout => (seconds(&self.heartbeat_timeout), &self.heartbeat_timeout.origin),
            Key::MaxPeers => (json!(self.peer_limit()), &self.max_peers.origin),
            Key::UdpPort => (json!(self.udp_port.value), &self.udp_port.origin),
            Key::MaxHops => (json!(self.max_hops.value), &self.max_hops.origin),
            Key::Profile => (json!(word(self.profile.value)), &self.profile.origin),
            Key::MeshKey => (path_value(&self.mesh_key), &self.mesh_key.origin),
            Key::Peers => (json!(self.peers.value), &self.peers.origin),
            Key::Interfaces => (json!(self.interfaces.value), &self.interfaces.origin),
            Key::Deletes => (json!(word(self.deletes.value)), &self.deletes.origin),
            Key::ApiAddress => (address_value(self.api_address.value), &self.api_address.origin),
            Key::LogFormat => (json!(word(self.log_format.value)), &self.log_format.origin),
            Key::LogLevel => (json!(word(self.log_level.value)), &self.log_level.origin),
            Key::DataDir => (path_value(&self.data_dir), &self.data_dir.origin),
        };
        (key, value, origin)
    }

    fn read_file(&mut self, file: &SettingsFile, problems: &mut Problems) {
        let at = |(line, column): Place| Origin::File { path: file.path.clone(), line, column };
        let text = match read_text(&file.path) {
            Ok(Some(text)) => text,
            Ok(None) if !file.required => return,
            Ok(None) => {
                let wrong = Wrong::Unreadable("there is no such file".into());
                return problems.push(Problem { origin: at((0, 0)), key: None, wrong });
            }
            Err(wrong) => return problems.push(Problem { origin: at((0, 0)), key: None, wrong }),
        };
        let top = match yaml::parse(&text) {
            Ok(Node::Map(top)) => top,
            Ok(other @ (Node::Leaf(_) | Node::List(_))) => {
                let wrong = Wrong::NoSections { found: other.raw().describe() };
                return problems.push(Problem { origin: at((1, 1)), key: None, wrong });
            }
            Err((wrong, place)) => return problems.push(Problem { origin: at(place), key: None, wrong }),
        };
        let mut foreign = Vec::new();
        for (name, node) in &top {
            match Key::at_top(&name.value, matches!(node.value, Node::Map(_))) {
                Top::Section => self.read_section(&name.value, &node.value, &at, yaml::place(node), problems),
                Top::Key(key) => self.apply(key, &node.value.raw(), &at(yaml::place(node)), problems),
                Top::Foreign => foreign.push(format!("`{}`", name.value)),
                Top::Mistake(wrong) => {
                    let key = Some(name.value.clone());
                    problems.push(Problem { origin: at(yaml::place(name)), key, wrong });
                }
            }
        }
        if !foreign.is_empty() {
            foreign.truncate(Problems::MAX);
            let text = format!("not the mesh's, left alone: {}", foreign.join(", "));
            self.notices.push(Notice { origin: at((0, 0)), text });
        }
    }

    fn read_section(
        &mut self,
        section: &str,
        node: &Node,
        at: &impl Fn(Place) -> Origin,
        place: Place,
        problems: &mut Problems,
    ) {
        let entries = match node {
            Node::Map(entries) => entries,
            Node::Leaf(Raw::Null) => return,
            other @ (Node::Leaf(_) | Node::List(_)) => {
                let wrong = Wrong::Kind { expected: "a section", found: other.raw().describe() };
                return problems.push(Problem { origin: at(place), key: Some(section.to_owned()), wrong });
            }
        };
        for (leaf, value) in entries {
            match Key::find(section, &leaf.value) {
                Ok(key) => self.apply(key, &value.value.raw(), &at(yaml::place(value)), problems),
                Err(wrong) => {
                    let key = Some(format!("{section}.{}", leaf.value));
                    problems.push(Problem { origin: at(yaml::place(leaf)), key, wrong });
                }
            }
        }
    }

    /// Checks one value and takes it over, or notes what is wrong with it.
    fn apply(&mut self, key: Key, raw: &Raw, origin: &Origin, problems: &mut Problems) {
        let Err((wrong, place)) = self.take(key, raw, origin) else { return };
        let origin = match (origin, place) {
            (Origin::File { path, .. }, Some((line, column))) => Origin::File { path: path.clone(), line, column },
            _ => origin.clone(),
        };
        problems.push(Problem { origin, key: Some(key.path().to_owned()), wrong });
    }

    fn take(&mut self, key: Key, raw: &Raw, origin: &Origin) -> value::Checked<()> {
        let from = origin.clone();
        let span = |low_ms, high_s| raw.span(Duration::from_millis(low_ms)..=Duration::from_secs(high_s));
        match key {
            Key::MeshName => self.mesh_name.put(raw.ruled("a text", MESH_NAME)?, from),
            Key::NodeId => self.node_id.put(Some(raw.ruled("a text (in quotes, if it is a number)", NODE_NAME)?), from),
            Key::BroadcastInterval => self.broadcast_interval.put(span(500, 300)?, from),
            Key::HeartbeatInterval => self.heartbeat_interval.put(span(500, 60)?, from),
            Key::HeartbeatTimeout => self.heartbeat_timeout.put(span(2_000, 3_600)?, from),
            Key::MaxPeers => self.max_peers.put(narrow(raw.count(1..=MAX_PEERS as u64)?), from),
            Key::UdpPort => self.udp_port.put(narrow(raw.count(1..=u64::from(u16::MAX - PORTS_TRIED))?), from),
            Key::MaxHops => self.max_hops.put(narrow(raw.count(1..=15)?), from),
            Key::Profile => self.profile.put(raw.choice()?, from),
            Key::MeshKey => self.mesh_key.put(Some(path(raw, origin)?), from),
            Key::Peers => self.peers.put(raw.list("a list of HOST:PORT", 256, HOST_PORT)?, from),
            Key::Interfaces => self.interfaces.put(raw.list("a list of interfaces", 64, INTERFACE)?, from),
            Key::Deletes => self.deletes.put(raw.choice()?, from),
            Key::ApiAddress => self.api_address.put(ApiAddress::check(raw)?, from),
            Key::LogFormat => self.log_format.put(raw.choice()?, from),
            Key::LogLevel => self.log_level.put(raw.choice()?, from),
            Key::DataDir => self.data_dir.put(Some(path(raw, origin)?), from),
        }
        Ok(())
    }

    fn check_times(&self, problems: &mut Problems) {
        let least = self.heartbeat_interval.value + self.profile.value.suspicion();
        if self.heartbeat_timeout.value < least {
            let wrong = Wrong::Conflict(format!(
                "is {}, but a peer is heard each {} (mesh.heartbeat_interval) and profile `{}` lets a suspect answer for {}: \
                 write at least {}, or lower these",
                show_span(self.heartbeat_timeout.value),
                show_span(self.heartbeat_interval.value),
                word(self.profile.value),
                show_span(self.profile.value.suspicion()),
                show_span(least),
            ));
            let origin = self.heartbeat_timeout.origin.clone();
            problems.push(Problem { origin, key: Some(Key::HeartbeatTimeout.path().into()), wrong });
        }
    }

    fn note_limit(&mut self) {
        let origin = self.max_peers.origin.clone();
        if origin == Origin::Default {
            return;
        }
        let limit = self.peer_limit();
        if limit < self.max_peers.value {
            let text = format!(
                "mesh.max_peers: an open mesh keeps at most {limit} peers; `kodikon key new` makes a key for more"
            );
            self.notices.push(Notice { origin, text });
        } else if limit < MAX_PEERS_OPEN {
            let text = format!(
                "mesh.max_peers: peer number {} is refused; remove the line to keep up to {}",
                limit + 1,
                self.most_peers()
            );
            self.notices.push(Notice { origin, text });
        }
    }

    fn note_key_file(&mut self) {
        let Some(path) = self.mesh_key.value.as_deref() else { return };
        if let Some(doubt) = MeshKey::doubt(path) {
            let text = format!("mesh.key: {}: {doubt}", path.display());
            self.notices.push(Notice { origin: self.mesh_key.origin.clone(), text });
        }
    }
}

/// A count whose range was checked to fit.
fn narrow<T: TryFrom<u64>>(count: u64) -> T {
    T::try_from(count).unwrap_or_else(|_| unreachable!("the range of each key lies within its type"))
}

/// A path; a relative one in a file is meant from the file's folder.
fn path(raw: &Raw, origin: &Origin) -> value::Checked<PathBuf> {
    let text = raw.ruled("a path", PATH)?;
    Ok(match origin {
        Origin::File { path, .. } => path.parent().unwrap_or(Path::new("")).join(text),
        Origin::Default | Origin::Environment(_) | Origin::Flag(_) | Origin::Program => PathBuf::from(text),
    })
}

/// Reads a file up to the limit; `None` where there is none.
fn read_text(path: &Path) -> Result<Option<String>, Wrong> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Wrong::Unreadable(error.to_string())),
    };
    let mut text = String::new();
    let read = file.take(yaml::MAX_BYTES + 1).read_to_string(&mut text);
    read.map_err(|error| Wrong::Unreadable(error.to_string()))?;
    if text.len() as u64 > yaml::MAX_BYTES {
        return Err(Wrong::TooLarge { limit: yaml::MAX_BYTES });
    }
    Ok(Some(text))
}

fn seconds(setting: &Setting<Duration>) -> Value {
    let span = setting.value;
    if span.subsec_nanos() == 0 { json!(span.as_secs()) } else { json!(span.as_secs_f64()) }
}

fn path_value(setting: &Setting<Option<PathBuf>>) -> Value {
    json!(setting.value.as_ref().map(|path| path.display().to_string()))
}

fn address_value(address: ApiAddress) -> Value {
    match address {
        ApiAddress::Auto => json!("auto"),
        ApiAddress::At(address) => json!(address.to_string()),
        ApiAddress::None => json!("none"),
    }
}
