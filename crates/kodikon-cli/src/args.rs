//! The command line: every verb, its flags, its help and an example.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{NonEmptyStringValueParser, PossibleValuesParser};
use clap::{Args as ClapArgs, Parser, Subcommand};
use clap_complete::Shell;
use kodikon::settings::{Flag, Key};
use kodikon::{EventKind, TIMEOUT_LEAST, TIMEOUT_MOST, TTL_LEAST, TTL_MOST};

use crate::node_view::WAIT_MOST;
use crate::span::seconds;

pub(crate) mod records;
mod search;

#[cfg(test)]
pub(crate) use records::SpaceArgs;
pub(crate) use records::{AddArgs, DeleteArgs, ExportArgs, FindArgs, GetArgs, ImportArgs};
pub(crate) use search::SearchArgs;

/// A brokerless mesh for cameras and edge devices.
#[derive(Clone, Debug, Parser)]
#[command(name = "kodikon", version, disable_help_subcommand = true, max_term_width = 100)]
#[command(after_help = "\
Example, in two terminals or on two machines of one LAN:
  kodikon up
  kodikon peers

Exit codes: 0 done, 1 it could not be done, 2 wrong usage or configuration, 3 no running node found, 130 ended by Ctrl-C")]
pub(crate) struct Args {
    /// Print JSON for programs: one document, or one object a line for streams
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Where the node keeps its files [env: KODIKON_DATA_DIR] [default: the platform's data folder + /kodikon]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,

    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run a node until SIGTERM or Ctrl-C
    #[command(
        after_help = "A second `up` on the same machine takes the next data folder and the next free ports.\n\nExample:\n  kodikon up\n  kodikon up --node-id camera-7 --interface eth0\n  kodikon up --mesh-key /etc/kodikon.key --json"
    )]
    Up(Box<UpArgs>),

    /// Show who is in the mesh, without oneself
    #[command(after_help = "Example:\n  kodikon peers --all\n  kodikon peers --json | jq -r '.[].node_id'")]
    Peers(PeersArgs),

    /// Show the way to every node
    #[command(
        after_help = "The cheapest way is taken, of equally cheap ones that with the fewest relays. The cost is that of all links together: 10 is a link of clean Ethernet; Wi-Fi and lost datagrams cost more. A way is known from the `map` of links that both ends advertise, or was `learned` from a message that came by it. `way` names the relays in order. JSON lists only nodes that there is a way to.\n\nExample:\n  kodikon routes\n  kodikon routes --json | jq -r '.[] | select(.relays > 0) | .path | join(\" > \")'"
    )]
    Routes(NodeArgs),

    /// Show or change versioned node state
    #[command(subcommand, after_help = "Example:\n  kodikon state set battery_level=85\n  kodikon state get")]
    State(StateVerb),

    /// Say something to one node, and learn what became of it
    #[command(
        after_help = "The message arrives at most once; `delivered` means that the node has it. An exit code of 1 says that it (or one of a series) was not delivered. A series bears its number as `n` in the payload; one of it that the node does not take is `refused`, and Ctrl-C tells how far it came and exits with 130.\n\nExample:\n  kodikon send door '{\"open\": true}' --priority high\n  kodikon send door '{}' --repeat 100 --interval-ms 10 --json"
    )]
    Send(SendArgs),

    /// Say something to all nodes
    #[command(
        after_help = "It is told at most once to each node, and acknowledged and repeated on each LAN until all there have it or its time is over: 5 s, high 10, critical 30. What is `low` is neither acknowledged nor repeated. At most 20 a second leave, more wait. A series bears its number as `n` in the payload.\n\nExample:\n  kodikon broadcast '{\"door\": \"open\"}' --priority high\n  kodikon broadcast '{}' --type door.opened --json"
    )]
    Broadcast(BroadcastArgs),
    /// Show an alert to everyone who is here, or comes while it is active
    #[command(
        after_help = "The answer comes when the alert is on its way; by then it is on this node's disk, unless that is full, does not answer within a second or is none (--in-memory): then the answer says so (`kept`: false). With --wait it names who has shown it (`delivered`), who has it on disk too (`durable`), and who is missing and why; an exit code of 1 says that somebody is, or that nobody else was there to be told. Whoever has not shown it when it ends is missing as `expired`.\n\nExample:\n  kodikon alert '{\"door\": 3, \"open\": true}' --priority critical --wait 5\n  kodikon alert '{\"battery\": 9}' --priority low --ttl 600"
    )]
    Alert(AlertArgs),

    /// Show the active alerts, or acknowledge one
    #[command(after_help = "Example:\n  kodikon alerts\n  kodikon alerts ack 5f0c6c5f5ab0d1aa --by anna")]
    Alerts(AlertsArgs),

    /// Record a sighting, for all nodes to have
    #[command(
        after_help = "The answer comes when it is on this node's disk, unless nothing is kept there (--in-memory): then the answer says so (`durable`: false). A sighting is seen by one node, lasts for its --ttl and is removed with `delete`.\n\nExample:\n  kodikon add 8f3a --type person --metadata '{\"camera\": \"gate\"}' --confidence 0.93\n  kodikon add 8f3a --type person --embedding views.npy --row 17 --model mobilenet_v2\n  echo '[0.1, 0.9, -0.3]' | kodikon add 8f3b --embedding - --model mobilenet_v2 --dtype i8"
    )]
    Add(AddArgs),

    /// Show all sightings of something, newest first
    #[command(
        after_help = "Exits with 1 if there is none.\n\nExample:\n  kodikon get 8f3a\n  kodikon get 8f3a --with-embedding --json | jq '.[0].embedding.numbers'"
    )]
    Get(GetArgs),

    /// Show the sightings that are like this, newest first
    #[command(
        after_help = "All conditions must hold.\n\nExample:\n  kodikon find --type person --since 10m\n  kodikon find --where 'camera=gate*' --where box.0=12 --node camera-7 --limit 20 --json"
    )]
    Find(FindArgs),

    /// Remove the sightings of something that were added here
    #[command(
        after_help = "They go on all nodes. What is added later lives. Exits with 1 if there is none.\n\nExample:\n  kodikon delete 8f3a\n  kodikon delete 8f3a --all"
    )]
    Delete(DeleteArgs),

    /// Take sightings from a file, as fast as the disk takes them
    #[command(
        after_help = "JSON Lines: one record a line, as `export` writes it, or a list of them, as `get`, `find` and `search` print it with --json --with-embedding; whoever imports it is its author. `-` reads from standard input. Of a .npy file each row is an embedding of the hash PREFIX and the row's number. Lines that are no record are told by their number, and the rest goes on; then the exit code is 1. What is held already is skipped, so that the same command goes on after Ctrl-C (130) or any other end; the report says how far it came. A line with a timestamp is compared with all sightings of its hash and moment, one without with the newest 1,024 of its hash.\n\nExample:\n  kodikon import sightings.jsonl\n  kodikon import views.npy --type person --prefix object- --model mobilenet_v2"
    )]
    Import(ImportArgs),

    /// Write the sightings into a file or a pipe
    #[command(
        after_help = "JSON Lines, newest first, with the numbers of their embeddings; or the embeddings alone as the rows of a .npy file, each in the place that the number behind PREFIX says, below 200,000. The file is there when all is in it; after Ctrl-C (130) the same command goes on with JSON Lines, and begins anew with a .npy file. Where it goes on, what was written before is as it was then: the closing line says since when, and what was added or deleted meanwhile is not in it. A pipe, a device or `-`, which is standard output, takes the records as they come; there nothing goes on.\n\nExample:\n  kodikon export sightings.jsonl --type person --since 7d\n  kodikon export views.npy --prefix object-\n  kodikon export - | jq -r .hash_value"
    )]
    Export(ExportArgs),

    /// Show which sightings look most like an embedding, or like those of a hash
    #[command(
        after_help = "The score is the cosine of the angle between two embeddings: 1 for the same direction. An exact answer says whether it is certified: then no sighting that may be found is nearer than those shown. The answer comes as soon as it is there, and at --timeout with what was found by then.\n\nExample:\n  kodikon search --like 8f3a -k 3\n  kodikon search --embedding face.json --type person --since 10m\n  kodikon search --embedding all.npy --row 7 --fast --json | jq '.results[] | [.score, .hash_value]'"
    )]
    Search(Box<SearchArgs>),

    /// Show events as they come
    #[command(after_help = "Example:\n  kodikon watch --type peer_failed --type state\n  kodikon watch --json")]
    Watch(WatchArgs),

    /// Show counters
    #[command(after_help = "Example:\n  kodikon stats\n  kodikon stats --json | jq .bytes_sent")]
    Stats(NodeArgs),

    /// Say what is wrong with this machine's network, with evidence and a cure
    #[command(
        after_help = "Exits with 1 if a check fails.\n\nExample:\n  kodikon doctor\n  kodikon doctor --json | jq '.[] | select(.status != \"ok\")'"
    )]
    Doctor(NodeArgs),

    /// Show datagrams as JSON, each message in them a line
    #[command(
        after_help = "The lines have the form of the Python original: {type, source, timestamp, seq, payload, path}. Its datagrams are read strictly. Of a sealed frame each message is shown: a change of node state as type 3 (NODE_STATE_SYNC), everything else that nodes say to each other as type 0 with its name as `kind` (HELLO, BEAT, OPINION, ...). `source` is the node's name, or its session's or its own id where no HELLO was seen; `seq` is the frame's counter; `timestamp` is the maker's where the message has it, else the capture's, else 0. docs/wire-format.md lists all kinds and fields.\n\nExits with 1 if a datagram cannot be shown. In a capture, what other programs sent is left out.\n\nExample:\n  kodikon decode datagrams.hex\n  tcpdump -i eth0 -w mesh.pcap udp; kodikon decode mesh.pcap --mesh-key /etc/kodikon.key\n  kodikon decode mesh.pcap | jq 'select(.kind == \"HELLO\") | .payload.card.name'"
    )]
    Decode(DecodeArgs),

    /// Run a fleet of simulated cameras on this machine until Ctrl-C
    #[command(
        after_help = "All cameras run in this process, in memory and over loopback, in a mesh and on ports of their own: no real node notices. They see objects of real photographs, tell all, ask the fleet who else has seen the same, and raise an alert now and then. What is shown is what the first camera hears: changes of state, sightings, alerts, who comes and who goes; what each camera was answered; and every five seconds a table; with --json the events as `watch` shows them.\n\nExample:\n  kodikon demo\n  kodikon demo --nodes 12 --seconds 60 --json | jq 'select(.event == \"state\")'"
    )]
    Demo(DemoArgs),

    /// Measure what this machine does: two nodes on it, with its processor and its disk
    #[command(
        after_help = "Two nodes are started in a mesh of their own that leaves this machine by no cable; they write into a folder of its own below the data folder (--data-dir), on the disk that is measured, which is removed afterwards. There is no network between them: what a mesh takes is this and its network's time. Run it while nothing else does.\n\nExample:\n  kodikon bench\n  kodikon bench --records 100000 --data-dir /var/lib/kodikon --json"
    )]
    Bench(BenchArgs),

    /// Make a mesh key
    #[command(subcommand, after_help = "Example:\n  kodikon key new /etc/kodikon.key")]
    Key(KeyVerb),

    /// Check or show the configuration
    #[command(subcommand, after_help = "Example:\n  kodikon config show --origin")]
    Config(ConfigVerb),

    /// Print a completion script for a shell
    #[command(
        after_help = "Example:\n  kodikon completions bash > ~/.local/share/bash-completion/completions/kodikon\n  kodikon completions zsh > ~/.zfunc/_kodikon"
    )]
    Completions {
        /// Which shell
        shell: Shell,
    },

    /// Print the manual as man pages
    #[command(after_help = "Example:\n  kodikon man | man -l -\n  kodikon man --dir /usr/local/share/man/man1")]
    Man {
        /// Write one page for each verb into this folder
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

#[derive(Clone, Debug, Default, ClapArgs)]
pub(crate) struct UpArgs {
    /// Keep nothing on disk: a new identity at each start
    #[arg(long)]
    pub(crate) in_memory: bool,
    #[command(flatten)]
    pub(crate) settings: SettingsArgs,
}

/// How to reach the node that is asked.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct NodeArgs {
    /// The node's API, instead of the one found in the data folder
    #[arg(long, env = "KODIKON_API", value_name = "URL", hide_env_values = true)]
    pub(crate) api: Option<String>,
}

#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct PeersArgs {
    /// Also show those who left or failed longer ago
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum StateVerb {
    /// Show the state of one node or of all
    #[command(after_help = "Example:\n  kodikon state get camera-7\n  kodikon state get --json")]
    Get {
        /// Its name; all nodes without
        #[arg(value_name = "NODE", value_parser = NonEmptyStringValueParser::new())]
        name: Option<String>,
        #[command(flatten)]
        node: NodeArgs,
    },
    /// Set keys of one's own state
    #[command(
        after_help = "A value is JSON, or else a text; null removes the key. `state` sets the NodeState: active, idle, processing, offline.\n\nExample:\n  kodikon state set processing_fps=29.5 location='{\"zone\":\"A\"}'\n  kodikon state set state=processing"
    )]
    Set {
        /// What to set
        #[arg(value_name = "KEY=VALUE", required = true)]
        pairs: Vec<String>,
        #[command(flatten)]
        node: NodeArgs,
    },
    /// Remove keys of one's own state
    #[command(after_help = "Example:\n  kodikon state unset location")]
    Unset {
        /// What to remove
        #[arg(value_name = "KEY", required = true)]
        keys: Vec<String>,
        #[command(flatten)]
        node: NodeArgs,
    },
}

#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct SendArgs {
    /// To whom: its name, or name@hhhh
    #[arg(value_name = "NODE", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) to: String,
    /// What: any JSON of at most 64 KiB; from stdin as -
    #[arg(value_name = "JSON", allow_negative_numbers = true)]
    pub(crate) payload: String,
    /// How urgent it is [default: normal]
    #[arg(long, value_name = "P", value_parser = ["low", "normal", "high", "critical"])]
    pub(crate) priority: Option<String>,
    /// How long it may take: seconds, 0.001 to 30, or with a unit [default: low 2, normal 5, high 10, critical 30]
    #[arg(long, value_name = "S", value_parser = timeout, allow_negative_numbers = true)]
    pub(crate) timeout: Option<f64>,
    /// A message type of one's own [default: ROUTE_BROADCAST]
    #[arg(long = "type", value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) kind: Option<String>,
    #[command(flatten)]
    pub(crate) series: SeriesArgs,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct BroadcastArgs {
    /// What: any JSON of at most 64 KiB; from stdin as -
    #[arg(value_name = "JSON", allow_negative_numbers = true)]
    pub(crate) payload: String,
    /// How urgent it is [default: normal]
    #[arg(long, value_name = "P", value_parser = ["low", "normal", "high", "critical"])]
    pub(crate) priority: Option<String>,
    /// A message type of one's own [default: ROUTE_BROADCAST]
    #[arg(long = "type", value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) kind: Option<String>,
    #[command(flatten)]
    pub(crate) series: SeriesArgs,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct SeriesArgs {
    /// Send so many, numbered from 1
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) repeat: Option<u32>,
    /// Milliseconds between two of them [default: 1000]
    #[arg(long, value_name = "M", requires = "repeat", value_parser = clap::value_parser!(u32).range(1..=3_600_000))]
    pub(crate) interval_ms: Option<u32>,
}

/// Seconds within the limits of a message.
fn timeout(text: &str) -> Result<f64, String> {
    seconds(text, "a message may take", &(TIMEOUT_LEAST..=TIMEOUT_MOST))
}

/// Seconds for which an alert may be active.
fn ttl(text: &str) -> Result<f64, String> {
    seconds(text, "an alert is active for", &(TTL_LEAST..=TTL_MOST))
}

/// Seconds for which receipts may be waited for.
fn wait(text: &str) -> Result<f64, String> {
    seconds(text, "receipts are waited for", &(Duration::ZERO..=WAIT_MOST))
}

#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct AlertArgs {
    /// What: any JSON of at most 16 KiB; from stdin as -
    #[arg(value_name = "JSON", allow_negative_numbers = true)]
    pub(crate) payload: String,
    /// How urgent it is [default: normal]
    #[arg(long, value_name = "P", value_parser = ["low", "normal", "high", "critical"])]
    pub(crate) priority: Option<String>,
    /// How long it is active: seconds, or with a unit as 90s, 2h, 7d [default: 1h; at most 7d]
    #[arg(long, value_name = "D", value_parser = ttl, allow_negative_numbers = true)]
    pub(crate) ttl: Option<f64>,
    /// Wait so long at most until everyone has shown it: seconds, or with a unit [at most 1h]
    #[arg(long, value_name = "D", value_parser = wait, allow_negative_numbers = true)]
    pub(crate) wait: Option<f64>,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

#[derive(Clone, Debug, ClapArgs)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct AlertsArgs {
    #[command(subcommand)]
    pub(crate) verb: Option<AlertsVerb>,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum AlertsVerb {
    /// Tell all that somebody has seen an alert
    #[command(after_help = "Example:\n  kodikon alerts ack 5f0c6c5f5ab0d1aa --by anna")]
    Ack {
        /// Which: the 16 hex digits that `kodikon alerts` shows
        #[arg(value_name = "ID")]
        id: String,
        /// Who has seen it [default: the user's name]
        #[arg(long, value_name = "WHO", value_parser = NonEmptyStringValueParser::new())]
        by: Option<String>,
        #[command(flatten)]
        node: NodeArgs,
    },
}

#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct WatchArgs {
    /// Show only this type of event (may be repeated)
    #[arg(long = "type", value_name = "TYPE", value_parser = PossibleValuesParser::new(EventKind::ALL.map(EventKind::name)))]
    pub(crate) types: Vec<String>,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct DecodeArgs {
    /// Hex digits, or a file: a capture (pcap), hex digits a datagram a line, or one raw datagram; stdin without, or as -
    #[arg(value_name = "HEX|FILE")]
    pub(crate) inputs: Vec<String>,
    /// The mesh whose frames are opened [default: the configured one]
    #[arg(long, value_name = "NAME")]
    pub(crate) mesh: Option<String>,
    /// Its key file, if it has one [default: the configured one]
    #[arg(long, value_name = "FILE")]
    pub(crate) mesh_key: Option<String>,
    /// A configuration file (YAML), over /etc/kodikon.yaml and the user's
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct DemoArgs {
    /// How many cameras there are, 1 to 50
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=50))]
    pub(crate) nodes: u8,
    /// End after so many seconds
    #[arg(long, value_name = "S")]
    pub(crate) seconds: Option<u64>,
    /// The demo's discovery port; the cameras' own are free ones of the next 64
    #[arg(long, value_name = "N", default_value_t = 19_999, value_parser = clap::value_parser!(u16).range(1..=65_471))]
    pub(crate) udp_port: u16,
}

#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct BenchArgs {
    /// Sightings that are added, each with an embedding of 512 numbers
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(100..=100_000))]
    pub(crate) records: u64,
    /// Messages, broadcasts, alerts (100 at most), sightings and searches that are timed one by one
    #[arg(long, value_name = "N", default_value = "100", value_parser = samples)]
    pub(crate) samples: usize,
}

fn samples(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| (1..=10_000).contains(count)).ok_or_else(|| "a number from 1 to 10,000".to_owned())
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum KeyVerb {
    /// Make a mesh key: 32 random bytes as 64 hex digits, in a file that only you can read
    #[command(
        after_help = "Give every node the same file: `mesh: {key: /etc/kodikon.key}`, or `kodikon up --mesh-key FILE`.\n\nExample:\n  kodikon key new /etc/kodikon.key\n  kodikon key new | ssh camera-7 'umask 077; cat > kodikon.key'"
    )]
    New {
        /// The file to write, never over another; stdout without
        file: Option<PathBuf>,
    },
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum ConfigVerb {
    /// Check the configuration and say what is wrong, with file, line and column
    #[command(after_help = "Example:\n  kodikon config check\n  kodikon config check kodikon.yaml")]
    Check {
        /// Check this file together with everything else that counts
        #[arg(conflicts_with = "config")]
        file: Option<PathBuf>,
        /// The same, as `up` takes it
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Show the configuration that counts
    #[command(
        after_help = "Example:\n  kodikon config show --origin\n  kodikon config show --config kodikon.yaml --json"
    )]
    Show {
        /// Say where each value comes from
        #[arg(long)]
        origin: bool,
        #[command(flatten)]
        settings: Box<SettingsArgs>,
    },
}

/// Flags that set what a configuration file sets.
#[derive(Clone, Debug, Default, ClapArgs)]
pub(crate) struct SettingsArgs {
    /// A configuration file (YAML), over /etc/kodikon.yaml and the user's
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// What people call this node
    #[arg(long, value_name = "NAME")]
    pub(crate) node_id: Option<String>,
    /// Fleets with different names never meet
    #[arg(long, value_name = "NAME")]
    pub(crate) mesh: Option<String>,
    /// The key file that all nodes of the mesh share
    #[arg(long, value_name = "FILE")]
    pub(crate) mesh_key: Option<String>,
    /// Use only this interface (may be repeated)
    #[arg(long, value_name = "IF")]
    pub(crate) interface: Vec<String>,
    /// A peer that broadcasts do not reach (may be repeated)
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) peer: Vec<String>,
    /// The shared discovery port; the node's own is the first free one of the next 64
    #[arg(long, value_name = "N")]
    pub(crate) udp_port: Option<String>,
    /// How soon a silent peer is given up: lan, fast, wan or eco
    #[arg(long, value_name = "PROFILE")]
    pub(crate) profile: Option<String>,
    /// Where the API listens [default: 127.0.0.1:8888 or the next free port], or none
    #[arg(long, value_name = "ADDR")]
    pub(crate) api: Option<String>,
    /// How the log is written: text or json
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<String>,
    /// What is logged: off, error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
}

impl SettingsArgs {
    /// The flags that were given.
    pub(crate) fn flags(&self) -> Vec<Flag> {
        let one = |name, key, value: &Option<String>| (name, key, value.iter().cloned().collect::<Vec<_>>());
        [
            one("--node-id", Key::NodeId, &self.node_id),
            one("--mesh", Key::MeshName, &self.mesh),
            one("--mesh-key", Key::MeshKey, &self.mesh_key),
            ("--interface", Key::Interfaces, self.interface.clone()),
            ("--peer", Key::Peers, self.peer.clone()),
            one("--udp-port", Key::UdpPort, &self.udp_port),
            one("--profile", Key::Profile, &self.profile),
            one("--api", Key::ApiAddress, &self.api),
            one("--log-format", Key::LogFormat, &self.log_format),
            one("--log-level", Key::LogLevel, &self.log_level),
        ]
        .into_iter()
        .filter(|(_, _, values)| !values.is_empty())
        .map(|(name, key, values)| Flag { name, key, values })
        .collect()
    }
}

/// The flags that every verb understands.
#[derive(Clone, Debug)]
pub(crate) struct Common {
    /// Print JSON.
    pub(crate) json: bool,
    /// The data folder, where it was named.
    pub(crate) data_dir: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn every_verb_has_help_with_an_example() {
        fn check(command: &clap::Command) {
            let name = command.get_name();
            assert!(command.get_about().is_some(), "{name} says nothing");
            let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(after.contains("Example"), "{name} has no example");
            command.get_subcommands().for_each(check);
        }
        check(&Args::command());
    }
}
