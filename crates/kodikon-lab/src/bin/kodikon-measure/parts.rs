//! Decides which parts a measurement has, how often each does what it measures, and what all of them are.

use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

use crate::deaths::Of;
use crate::idle;
use crate::simulator;

/// What is to be measured.
#[derive(Subcommand)]
pub(crate) enum What {
    /// From the last `started` to the last of the n(n-1) first `peer_up`s.
    ColdStart {
        /// How many nodes; several sizes with commas.
        #[arg(long, value_delimiter = ',', default_values_t = [3, 10, 30])]
        nodes: Vec<u16>,
        /// How many starts of each size.
        #[arg(long, default_value_t = 20)]
        runs: u32,
        /// How many of a hundred frames the switch drops, at each receiver.
        #[arg(long, default_value_t = 0.0)]
        loss: f64,
    },
    /// From a newcomer's `started` to the `peer_up` at each of the others.
    LateJoiner {
        /// How many nodes with the newcomer.
        #[arg(long, default_value_t = 30)]
        nodes: u16,
        /// How many newcomers.
        #[arg(long, default_value_t = 50)]
        runs: u32,
    },
    /// From a death to the event at each of the others: by silence, by SIGKILL, by SIGTERM.
    Deaths {
        /// How many nodes with the one that dies.
        #[arg(long, default_value_t = 10)]
        nodes: u16,
        /// How many deaths of each kind.
        #[arg(long, default_value_t = 50)]
        kills: u32,
        /// Of which kinds.
        #[arg(long, value_enum, default_value_t = Of::All)]
        of: Of,
    },
    /// From the end of a silent partition in two halves to the `peer_up` of each about each of the other half.
    Heal {
        /// How many nodes.
        #[arg(long, default_value_t = 10)]
        nodes: u16,
        /// How many partitions.
        #[arg(long, default_value_t = 10)]
        runs: u32,
        /// Seconds it lasts after the last FAILED, at least. In the first half minute a rival still talks to the dead.
        #[arg(long, default_value_t = 40)]
        hold: u64,
    },
    /// How long a flow is silent when its way is cut or an interface of it goes down, and how soon it is back on the shorter
    /// way after the repair: in a ring of six and a grid of nine, beside babeld.
    Reroute {
        /// How many breaks of each kind in each mesh; all four cases at the same time take about ten seconds a break.
        #[arg(long, default_value_t = 300)]
        cuts: u32,
    },
    /// Reliable messages over five hops that lose some, over one, and along a line.
    Letters {
        /// How many messages in each series.
        #[arg(long, default_value_t = 1_000)]
        messages: u32,
    },
    /// The round trip of 64 bytes through the library's callbacks, beside a raw UDP echo, and confirmed messages a second:
    /// see --echo.
    Echo {
        #[command(flatten)]
        plan: crate::echo::Plan,
    },
    /// From the launch of `alert` to the alert at the last node, and to the last receipt; a rival's user event beside it.
    Alerts {
        /// How many nodes; several sizes with commas.
        #[arg(long, value_delimiter = ',', default_values_t = [3, 10, 30])]
        nodes: Vec<u16>,
        /// How many alerts in each: half of them as a program beside the node raises them, by HTTP.
        #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(2..))]
        alerts: u32,
        /// All by the verb.
        #[arg(long)]
        verb: bool,
    },
    /// Payload datagrams of a broadcast, counted at the switches, in numbers of segments.
    Broadcasts {
        /// In which meshes: 10 nodes on one segment, 49 on five.
        #[arg(long, value_delimiter = ',', default_values_t = [10, 49])]
        meshes: Vec<u16>,
        /// How many broadcasts in each mesh.
        #[arg(long, default_value_t = 200)]
        broadcasts: u32,
    },
    /// From the launch of `add` to the sighting's being found at the other nodes, and what it costs on the wire.
    Sightings {
        /// How many nodes; several sizes with commas.
        #[arg(long, value_delimiter = ',', default_values_t = [10, 50])]
        nodes: Vec<u16>,
        /// How many sightings in each.
        #[arg(long, default_value_t = 300)]
        adds: u32,
    },
    /// A search that every node answers, since each holds what no other holds; a rival's query beside it.
    Questions {
        /// How many nodes.
        #[arg(long, default_value_t = 30)]
        nodes: u16,
        /// How many questions.
        #[arg(long, default_value_t = 300)]
        questions: u32,
    },
    /// What many sightings cost: to import, to hold, to restart with, to fetch from a peer; and many searches of them at once.
    Volume {
        /// How many sightings of 512 numbers.
        #[arg(long, default_value_t = 100_000)]
        records: u32,
        /// How many restarts and fetches.
        #[arg(long, default_value_t = 5)]
        runs: u32,
    },
    /// What critical alerts take in a mesh with many sightings, and what they take while a newcomer fetches these.
    Fetches {
        /// How many sightings of 512 numbers.
        #[arg(long, default_value_t = 100_000)]
        records: u32,
        /// How many fetches.
        #[arg(long, default_value_t = 5)]
        runs: u32,
    },
    /// What two nodes say to each other until both hold the same of 10, 100 and 1,000 authors, simulated: see --digests.
    Digests {
        /// Sightings of each author.
        #[arg(long, default_value_t = 100)]
        each: u16,
    },
    /// Bytes and packets a node sends in a minute when nothing happens, counted at the switch; memory and CPU time of a
    /// node with ten peers meanwhile.
    Idle {
        /// How many nodes; several sizes with commas.
        #[arg(long, value_delimiter = ',', default_values_t = [3, 10, 30])]
        nodes: Vec<u16>,
        #[command(flatten)]
        minutes: Minutes,
    },
    /// What an idle mesh of 100 or 1,000 sends, and how soon all of it know who comes and goes, by the simulator, and how fast that is.
    Simulator {
        #[command(flatten)]
        plan: simulator::Plan,
    },
    /// The size of the binary that is given away, and what its build takes: see --dist, --build-s, --packages.
    Size,
    /// How a mesh forms, who lives, what idling costs: all parts but those of `messages`. Half an hour.
    Mesh {
        /// A few minutes: shows that everything runs, its figures mean little.
        #[arg(long)]
        quick: bool,
        #[command(flatten)]
        plan: simulator::Plan,
    },
    /// How messages find their way and arrive: reroute, alerts, broadcasts. Two hours.
    Messages {
        /// A quarter of an hour: shows that everything runs, its figures mean little.
        #[arg(long)]
        quick: bool,
    },
    /// Sightings: how soon they are everywhere, how questions are answered, what many of them cost. A quarter of an hour.
    Registry {
        /// Two minutes: shows that everything runs, its figures mean little.
        #[arg(long)]
        quick: bool,
    },
    /// Removes what a killed measurement left behind.
    Clean,
}

#[derive(Args, Clone, Copy)]
pub(crate) struct Minutes {
    /// How long to count.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// How long to wait before, until the greetings are over.
    #[arg(long, default_value_t = 1.0)]
    settle: f64,
}

impl Minutes {
    pub(crate) fn times(self) -> Result<idle::Times> {
        let time = |minutes: f64| Duration::try_from_secs_f64(minutes * 60.0).context("not a number of minutes");
        Ok(idle::Times { settle: time(self.settle)?, count: time(self.minutes)? })
    }
}

/// The parts of `mesh`.
pub(crate) fn mesh(quick: bool, plan: &simulator::Plan) -> Vec<What> {
    let few = |runs: u32, few: u32| if quick { few } else { runs };
    let minutes = if quick { Minutes { minutes: 1.0, settle: 0.5 } } else { Minutes { minutes: 10.0, settle: 1.0 } };
    vec![
        What::ColdStart { nodes: vec![3, 10, 30], runs: few(20, 3), loss: 0.0 },
        What::ColdStart { nodes: vec![10], runs: few(20, 3), loss: 20.0 },
        What::LateJoiner { nodes: 30, runs: few(50, 5) },
        What::Deaths { nodes: 10, kills: few(50, 5), of: Of::All },
        // Of thirty nodes each death has 29 samples.
        What::Deaths { nodes: 30, kills: few(12, 2), of: Of::Silence },
        What::Deaths { nodes: 10, kills: few(35, 5), of: Of::SilenceFast },
        What::Heal { nodes: 10, runs: few(10, 3), hold: few(40, 2).into() },
        What::Idle { nodes: vec![3, 10, 30], minutes },
        What::Simulator { plan: plan.clone() },
        What::Size,
    ]
}

/// The parts of `messages`.
pub(crate) fn messages(quick: bool) -> Vec<What> {
    let few = |runs: u32, few: u32| if quick { few } else { runs };
    vec![
        What::Reroute { cuts: few(300, 2) },
        What::Alerts { nodes: vec![3, 10, 30], alerts: few(1_000, 20), verb: false },
        What::Broadcasts { meshes: vec![10, 49], broadcasts: few(200, 20) },
    ]
}

/// The parts of `registry`.
pub(crate) fn registry(quick: bool) -> Vec<What> {
    let few = |runs: u32, few: u32| if quick { few } else { runs };
    vec![
        What::Sightings { nodes: vec![10, 50], adds: few(450, 12) },
        What::Questions { nodes: 30, questions: few(300, 10) },
        What::Volume { records: few(100_000, 5_000), runs: few(5, 1) },
        What::Fetches { records: few(100_000, 5_000), runs: few(5, 1) },
        What::Digests { each: if quick { 10 } else { 100 } },
    ]
}
