//! Decides how the nodes of a mesh run on the hosts of a lab, and how a test waits for what they say.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;

use crate::event::{Elapsed, Event, Kind, Moment};
use crate::gate::Gate;
use crate::lab::Lab;
use crate::process::{Finished, Line, Process};
use crate::story::{Seen, Story};
use crate::topology::Host;

/// The first port for the HTTP of a node; further nodes of one host take the next ones.
const FIRST_API_PORT: u16 = 8888;
/// How often the processes are looked at while one waits: a node that has ended is a reason to stop waiting.
const CHECK_EVERY: Duration = Duration::from_millis(200);
/// Lines that come within this are looked at together.
const TOGETHER: Duration = Duration::from_millis(10);
/// Lines that no waiting method has taken yet; at the limit the nodes wait with telling more, and none is lost.
const UNREAD_LIMIT: usize = 100_000;
/// How long a verb may take.
const VERB_LIMIT: Duration = Duration::from_secs(30);

/// Which program the nodes are.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Program {
    /// The `kodikon` binary at this path.
    Kodikon(PathBuf),
    /// The `serf` binary at this path, to compare with.
    Serf(PathBuf),
}

/// Whether and where a node serves HTTP, without which no verb reaches it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Api {
    /// On the host's loopback address, at a port that no other node of the host has.
    Loopback,
    /// At this address.
    At(String),
    /// Not at all.
    None,
}

/// How one node is to be started.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    host: Host,
    name: String,
    data: Option<PathBuf>,
    api: Api,
    args: Vec<OsString>,
    envs: Vec<(OsString, OsString)>,
}

impl NodeSpec {
    /// A node on a host, called like the host: `n3`.
    pub fn on(host: Host) -> Self {
        Self { host, name: host.to_string(), data: None, api: Api::Loopback, args: Vec::new(), envs: Vec::new() }
    }

    /// Another name: needed for the second node of a host. The fleet knows the node by it.
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Another data directory than the one in the lab's directory that bears the node's name.
    pub fn data(mut self, directory: impl Into<PathBuf>) -> Self {
        self.data = Some(directory.into());
        self
    }

    /// Whether and where it serves HTTP; by default on loopback.
    pub fn api(mut self, api: Api) -> Self {
        self.api = api;
        self
    }

    /// A further argument of `up`.
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// A variable in its environment.
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.envs.push((key.into(), value.into()));
        self
    }
}

/// What one node told about a peer, and how long after the act.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Who told it.
    pub by: String,
    /// How long it took.
    pub elapsed: Elapsed,
}

/// Nodes on the hosts of a lab, all of one program. They are killed when the fleet is dropped.
#[derive(Debug)]
pub struct Fleet<'lab> {
    lab: &'lab Lab,
    program: Program,
    nodes: BTreeMap<String, Node>,
    sender: SyncSender<Told>,
    receiver: Receiver<Told>,
    story: Story,
    /// What the lines of all nodes pass.
    gate: Option<Arc<Gate>>,
}

#[derive(Debug)]
struct Node {
    spec: NodeSpec,
    data: PathBuf,
    port: u16,
    /// `None` while it does not run.
    process: Option<Process>,
}

#[derive(Debug)]
struct Told {
    by: String,
    run: u32,
    line: Line,
}

impl<'lab> Fleet<'lab> {
    /// A fleet without nodes, of the kodikon binary at this path.
    pub fn new(lab: &'lab Lab, binary: impl Into<PathBuf>) -> Self {
        Self::of(lab, Program::Kodikon(binary.into()))
    }

    /// A fleet without nodes.
    pub fn of(lab: &'lab Lab, program: Program) -> Self {
        let (sender, receiver) = sync_channel(UNREAD_LIMIT);
        Self { lab, program, nodes: BTreeMap::new(), sender, receiver, story: Story::default(), gate: None }
    }

    // ---- starting and ending ----

    /// Starts a node called like its host, and does not wait for it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&mut self, host: Host) -> Result<()> {
        self.launch(NodeSpec::on(host))
    }

    /// Starts a node on every host of the lab, and does not wait for them.
    ///
    /// # Errors
    /// When one cannot be started.
    pub fn start_all(&mut self) -> Result<()> {
        self.lab.hosts().into_iter().try_for_each(|host| self.start(host))
    }

    /// Starts a node, and does not wait for it.
    ///
    /// # Errors
    /// When it cannot be started, or one of this name runs.
    pub fn launch(&mut self, spec: NodeSpec) -> Result<()> {
        ensure!(self.nodes.get(&spec.name).is_none_or(|node| node.process.is_none()), "{} runs already", spec.name);
        let port = self.free_port(spec.host);
        let data = spec.data.clone().unwrap_or_else(|| self.lab.directory().join(&spec.name));
        let name = spec.name.clone();
        let node = Node { spec, data, port, process: None };
        self.nodes.insert(name.clone(), node);
        self.relaunch(&name)
    }

    /// Starts a node again that has ended, with its data directory and arguments.
    ///
    /// # Errors
    /// When it runs, never ran, or cannot be started.
    pub fn relaunch(&mut self, name: &str) -> Result<()> {
        ensure!(self.node(name)?.process.is_none(), "{name} runs already");
        let mut command = self.up_command(name)?;
        let run = self.story.begin(name);
        let (by, sender) = (name.to_owned(), self.sender.clone());
        // The fleet may be gone while a node still ends.
        let sink = move |line| drop(sender.send(Told { by: by.clone(), run, line }));
        let gate = match &self.gate {
            Some(gate) => Arc::clone(gate),
            None => Arc::clone(self.gate.insert(Arc::new(Gate::new()?))),
        };
        let process = self.lab.spawn_behind(&mut command, gate, sink)?;
        self.node_mut(name)?.process = Some(process);
        Ok(())
    }

    /// Ends a node as a crash does. Returns the moment before the signal.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self, name: &str) -> Result<Moment> {
        let mut process = self.take(name)?;
        let moment = Moment::now();
        process.kill()?;
        Ok(moment)
    }

    /// Asks a node to end, which lets it say goodbye. Returns the moment before the signal.
    ///
    /// # Errors
    /// When it does not run, or still runs after `timeout`.
    pub fn terminate(&mut self, name: &str, timeout: Duration) -> Result<(Moment, ExitStatus)> {
        let signal = match self.program {
            Program::Kodikon(_) => Signal::TERM,
            // By its default SIGTERM is a crash to it.
            Program::Serf(_) => Signal::INT,
        };
        let mut process = self.take(name)?;
        let moment = Moment::now();
        process.signal(signal)?;
        let status = process.wait(timeout).with_context(|| format!("{name}: {}", process.complaints()))?;
        Ok((moment, status))
    }

    /// Kills all nodes.
    ///
    /// # Errors
    /// When one of them had ended by itself before.
    pub fn kill_all(&mut self) -> Result<()> {
        let running: Vec<String> = self.story.running().map(str::to_owned).collect();
        running.iter().try_for_each(|name| self.kill(name).map(drop))
    }

    /// The process of a running node.
    ///
    /// # Errors
    /// When it does not run.
    pub fn process(&mut self, name: &str) -> Result<&mut Process> {
        self.node_mut(name)?.process.as_mut().ok_or_else(|| anyhow!("{name} does not run"))
    }

    /// The host a node was started on.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn host(&self, name: &str) -> Result<Host> {
        Ok(self.node(name)?.spec.host)
    }

    /// The data directory of a node.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn data(&self, name: &str) -> Result<&Path> {
        Ok(&self.node(name)?.data)
    }

    // ---- waiting ----

    /// What has been told so far. Grows only while one of the waiting methods runs.
    pub fn story(&self) -> &Story {
        &self.story
    }

    /// Waits until `done` holds for the story.
    ///
    /// # Errors
    /// When it does not within `timeout`, or a node ends that was not told to: with what is known by then.
    pub fn wait(&mut self, what: &str, timeout: Duration, done: impl Fn(&Story) -> bool) -> Result<()> {
        let deadline = Instant::now() + timeout;
        loop {
            while let Ok(told) = self.receiver.try_recv() {
                self.learn(told);
            }
            if done(&self.story) {
                return Ok(());
            }
            if let Err(ended) = self.check() {
                return Err(ended.context(format!("while waiting for {what}\n{}", self.story.summary())));
            }
            let remaining = deadline.saturating_duration_since(Instant::now());
            if remaining.is_zero() {
                bail!("{what}: not within {timeout:?}\n{}{}", self.story.summary(), self.complaints());
            }
            match self.receiver.recv_timeout(remaining.min(CHECK_EVERY)) {
                Ok(told) => {
                    self.learn(told);
                    // What comes with it bears its own time: to look at each line by itself would take the processor from the nodes.
                    thread::sleep(TOGETHER);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => unreachable!("the fleet itself holds a sender"),
            }
        }
    }

    /// Does something while nobody reads what the nodes say, which on one computer takes a processor from them: what they say meanwhile
    /// waits in their pipes, and its time is the one that they tell alone. It must be less than a pipe holds, or they do wait for a reader.
    ///
    /// # Errors
    /// When the system refuses it.
    pub fn unread<T>(&self, work: impl FnOnce() -> T) -> Result<T> {
        let Some(gate) = &self.gate else { return Ok(work()) };
        gate.shut()?;
        // Long enough for all readers to have left their pipes.
        thread::sleep(TOGETHER);
        let done = work();
        gate.open()?;
        Ok(done)
    }

    /// Listens for a while, during which no node may end.
    ///
    /// # Errors
    /// When one does.
    pub fn listen(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        self.wait("the time to pass", time + CHECK_EVERY, |_| Instant::now() >= end)
    }

    /// Waits until all nodes have said that they run.
    ///
    /// # Errors
    /// As [`Fleet::wait`].
    pub fn wait_started(&mut self, timeout: Duration) -> Result<()> {
        self.wait("all started", timeout, Story::all_started)
    }

    /// Waits until each running node says that each other is up; the time from the last `started` to the last of the
    /// first `peer_up`s.
    ///
    /// # Errors
    /// As [`Fleet::wait`].
    pub fn wait_full_roster(&mut self, timeout: Duration) -> Result<Elapsed> {
        self.wait("full roster at all", timeout, Story::full_roster)?;
        let started = self.story.last_started().context("no node runs")?;
        // A node alone has a full roster from its start on.
        Ok(self.story.roster_complete().unwrap_or(started).since(started))
    }

    /// Waits until every other running node has told an event of this kind about a peer; one sample a node.
    ///
    /// # Errors
    /// As [`Fleet::wait`].
    pub fn wait_at_all(&mut self, kind: &Kind, about: &str, since: Moment, timeout: Duration) -> Result<Vec<Sample>> {
        let others = self.story.running().filter(|name| *name != about).count();
        let what = format!("{kind} about {about} at all {others} others");
        self.wait(&what, timeout, |story| story.first_about(kind, about, since).len() >= others)?;
        let first = self.story.first_about(kind, about, since);
        let sample = |(by, seen): (&str, &Seen)| Sample { by: by.to_owned(), elapsed: seen.moment.since(since) };
        Ok(first.into_iter().map(sample).collect())
    }

    /// Waits until the first node has told an event of this kind about a peer.
    ///
    /// # Errors
    /// As [`Fleet::wait`].
    pub fn wait_at_first(&mut self, kind: &Kind, about: &str, since: Moment, timeout: Duration) -> Result<Sample> {
        let what = format!("{kind} about {about} at the first");
        self.wait(&what, timeout, |story| !story.first_about(kind, about, since).is_empty())?;
        let samples = self.story.first_about(kind, about, since);
        let first = samples.into_iter().min_by_key(|(_, seen)| seen.moment.read);
        let (by, seen) = first.context("there was one a moment ago")?;
        Ok(Sample { by: by.to_owned(), elapsed: seen.moment.since(since) })
    }

    // ---- verbs ----

    /// Runs a verb for a node, on its host: `ctl("n1", ["peers", "--json"])`.
    ///
    /// # Errors
    /// When it does not end in time. A verb that fails is no error here: see [`Finished::success`].
    pub fn ctl<A: Into<OsString>>(&self, name: &str, args: impl IntoIterator<Item = A>) -> Result<Finished> {
        self.lab.run(&mut self.ctl_command(name, args)?, VERB_LIMIT)
    }

    /// As [`Fleet::ctl`], for verbs that print one JSON document; `--json` is added.
    ///
    /// # Errors
    /// When the verb fails or prints something else.
    pub fn ctl_json<A: Into<OsString>>(&self, name: &str, args: impl IntoIterator<Item = A>) -> Result<Value> {
        let args = args.into_iter().map(Into::into).chain([OsString::from("--json")]);
        let text = self.ctl(name, args)?.success().with_context(|| format!("the verb at {name}"))?;
        serde_json::from_str(&text).with_context(|| format!("the verb at {name} printed no JSON: {text}"))
    }

    /// The command of a verb, to be given to [`Lab::spawn`] where it streams.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn ctl_command<A: Into<OsString>>(&self, name: &str, args: impl IntoIterator<Item = A>) -> Result<Command> {
        let Program::Kodikon(binary) = &self.program else { bail!("verbs are for kodikon") };
        let node = self.node(name)?;
        let mut command = self.lab.command(node.spec.host, binary);
        command.args(args.into_iter().map(Into::into)).arg("--data-dir").arg(&node.data);
        self.shield(&mut command);
        Ok(command)
    }

    // ---- how it is done ----

    fn up_command(&self, name: &str) -> Result<Command> {
        let node = self.node(name)?;
        let spec = &node.spec;
        let mut command = match &self.program {
            Program::Kodikon(binary) => {
                let mut command = self.lab.command(spec.host, binary);
                let api = match &spec.api {
                    Api::Loopback => format!("127.0.0.1:{}", node.port),
                    Api::At(address) => address.clone(),
                    Api::None => "none".to_owned(),
                };
                command.args(["up", "--json", "--node-id", name, "--api", &api, "--data-dir"]).arg(&node.data);
                command
            }
            Program::Serf(binary) => {
                let mut command = self.lab.command(spec.host, binary);
                command.args(["agent", &format!("-node={name}"), "-iface=ea", "-discover=kodikon"]);
                command
            }
        };
        self.shield(&mut command);
        command.args(&spec.args).envs(spec.envs.iter().map(|(key, value)| (key, value)));
        Ok(command)
    }

    /// Keeps the settings of the person who runs the tests out of them.
    fn shield(&self, command: &mut Command) {
        command.env("HOME", self.lab.directory()).env_remove("XDG_CONFIG_HOME").env_remove("XDG_DATA_HOME");
        for (key, _) in std::env::vars_os() {
            // The variable that governs skipping is ours and no setting of a node.
            if key.to_string_lossy().starts_with("KODIKON_") {
                command.env_remove(key);
            }
        }
    }

    fn learn(&mut self, told: Told) {
        let event = match &self.program {
            Program::Kodikon(_) => Event::parse(&told.line.text).map(Some),
            Program::Serf(_) => Ok(Event::parse_serf(&told.line.text)),
        };
        match event {
            Ok(Some(event)) => {
                let moment = Moment { read: told.line.at, told: event.told };
                self.story.add(Seen { by: told.by, run: told.run, moment, event });
            }
            Ok(None) => {}
            Err(error) => self.story.add_odd(format!("{}: {} ({error})", told.by, told.line.text)),
        }
    }

    fn check(&mut self) -> Result<()> {
        for (name, node) in &mut self.nodes {
            let Some(process) = &mut node.process else { continue };
            if let Some(status) = process.status()? {
                bail!("{name} has ended ({status}): {}", process.complaints());
            }
        }
        Ok(())
    }

    fn complaints(&self) -> String {
        let mut text = String::new();
        for (name, node) in &self.nodes {
            let complaints = node.process.as_ref().map(Process::complaints).unwrap_or_default();
            if let Some(last) = complaints.lines().last() {
                writeln!(text, "{name} last said: {last}").expect("a String takes all that is written");
            }
        }
        text
    }

    fn take(&mut self, name: &str) -> Result<Process> {
        let process = self.node_mut(name)?.process.take().ok_or_else(|| anyhow!("{name} does not run"))?;
        self.story.end(name);
        Ok(process)
    }

    fn node(&self, name: &str) -> Result<&Node> {
        self.nodes.get(name).ok_or_else(|| anyhow!("no node {name}"))
    }

    fn node_mut(&mut self, name: &str) -> Result<&mut Node> {
        self.nodes.get_mut(name).ok_or_else(|| anyhow!("no node {name}"))
    }

    fn free_port(&self, host: Host) -> u16 {
        let taken = |port| self.nodes.values().any(|node| node.spec.host == host && node.port == port);
        (FIRST_API_PORT..).find(|port| !taken(*port)).expect("a host has fewer nodes than ports")
    }
}
