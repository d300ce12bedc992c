//! `up`: a node from its settings to its goodbye: mesh, API, `api.json`, events on stdout, signals.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kodikon::api::{Security, Started};
use kodikon::settings::{LogFormat, LogLevel, Settings};
use kodikon::{EventStream, Mesh, StartError};
use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tracing_subscriber::filter::LevelFilter;

use crate::api_file::{ApiFile, Left};
use crate::args::{Common, UpArgs};
use crate::http::{self, Api, EventRing, Token};
use crate::json_log::JsonLines;
use crate::log_writer::LogWriter;
use crate::outcome::{Done, Failure};
use crate::{metrics_token, places, print, printer};

/// How long the last lines may take to be read; a reader that stopped reading must not keep the node from ending.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// So long after the start all that it needed has run.
const STARTED_AFTER: Duration = Duration::from_secs(10);
/// What was needed since is let go of so often: it costs some tenths of a millisecond.
const SMALL_EVERY: Duration = Duration::from_secs(300);
/// A signal so soon after the first is the first once more: a supervisor tells the process and its group, a terminal the
/// group, and neither means to cut the goodbye off. A person takes longer to lose patience.
const SAME_SIGNAL: Duration = Duration::from_millis(200);

/// Runs a node until it is told to end.
pub(crate) fn run(common: &Common, args: &UpArgs) -> Result<Done, Failure> {
    let mut settings = places::load_settings(&args.settings, common.data_dir.as_deref())?;
    if settings.node_id.value.is_none() {
        settings.node_id.value = Some(places::machine_name());
    }
    let log = LogWriter::of_process(settings.log_format.value);
    let log = log.map_err(|error| Failure::Undone(format!("the system gives no thread: {error}")))?;
    start_log(&settings, log.clone());
    let outcome = event_loop()?.block_on(live(common.json, args.in_memory, settings, &log));
    log.flush(LAST_WORDS);
    outcome
}

/// The loop of a program that runs nodes: one thread, with network and time.
pub(crate) fn event_loop() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::Undone(format!("the system gives no event loop: {error}")))
}

async fn live(json: bool, in_memory: bool, settings: Settings, log: &LogWriter) -> Result<Done, Failure> {
    // Before the node speaks: a signal that comes while it starts ends it, too, with a goodbye.
    let mut signals = Signals::listen()?;
    let listener = http::bind(settings.api_address.value).await.map_err(|error| Failure::Undone(error.to_string()))?;
    let (mesh, events) = start_mesh(&settings, in_memory).await?;
    let ring = EventRing::new(&run_name());
    let api = match listener {
        Some(listener) => Some(start_api(listener, &mesh, &ring, &settings)?),
        None => None,
    };
    let started = mesh.started(api.as_ref().map(|api| api.url.clone()));
    match settings.log_format.value {
        LogFormat::Json => log_banner(&started, &settings),
        LogFormat::Text | _ => banner(&started, &settings, log),
    }
    let mut printed = printer::spawn(json, &started, events.clone())?;
    // What is asked by HTTP passes through this thread, and through those of the node, which ask for themselves.
    kodikon::wake_promptly();
    let mut told = tokio::spawn(ring.feed(events));
    let stay_small = tokio::spawn(stay_small());
    // Without a service manager there is nobody to tell.
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    let ended_by_signal = tokio::select! {
        () = signals.any() => true,
        _ = &mut told => false,
    };
    stay_small.abort();
    let ended_at = Instant::now();
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    // A second signal ends at once what the first began to end.
    tokio::select! {
        () = end(&mesh, told, api, &mut printed) => {}
        () = signals.again(ended_at) => return Err(Failure::Undone("ended without a goodbye".into())),
    }
    if ended_by_signal {
        Ok(Done::Well)
    } else {
        Err(Failure::Undone("the node has stopped by itself: see the log".into()))
    }
}

/// Keeps mapped of the program what runs: its start and each rare order touch much that is not needed again.
async fn stay_small() {
    tokio::time::sleep(STARTED_AFTER).await;
    loop {
        let _ = kodikon::unmap_idle_program();
        tokio::time::sleep(SMALL_EVERY).await;
    }
}

/// Says goodbye, then ends the API and waits for the last lines.
async fn end(mesh: &Mesh, told: JoinHandle<()>, api: Option<RunningApi>, printed: &mut oneshot::Receiver<()>) {
    mesh.shutdown().await;
    // One that is finished was waited for. An error means that it took longer than any event should.
    if !told.is_finished() {
        let _ = tokio::time::timeout(LAST_WORDS, told).await;
    }
    if let Some(api) = api {
        drop(api.left);
        // An error means that the API has ended by itself.
        let _ = api.end.send(());
        let _ = tokio::time::timeout(LAST_WORDS, api.task).await;
    }
    // An error means that all is printed and the printer gone, or that its reader reads no more.
    let _ = tokio::time::timeout(LAST_WORDS, printed).await;
}

async fn start_mesh(settings: &Settings, in_memory: bool) -> Result<(Mesh, EventStream), Failure> {
    let name = settings.node_id.value.clone().unwrap_or_default();
    let builder = Mesh::builder(&name).settings(settings.clone());
    let builder = match &settings.data_dir.value {
        _ if in_memory => builder.in_memory(),
        Some(dir) => builder.data_dir(dir.clone()),
        None => builder.data_dir_or_next(places::default_data_dir()?),
    };
    builder.start_watched().await.map_err(|error| match error {
        StartError::Settings(_) | StartError::State(_) => Failure::Usage(error.to_string()),
        StartError::NoDataDir
        | StartError::Store(_)
        | StartError::Ports { .. }
        | StartError::System { .. }
        | StartError::Ended
        | _ => Failure::Undone(error.to_string()),
    })
}

/// The API as long as it runs.
struct RunningApi {
    url: String,
    left: Left,
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

fn start_api(listener: TcpListener, mesh: &Mesh, ring: &EventRing, settings: &Settings) -> Result<RunningApi, Failure> {
    let undone = |what: &str, error: std::io::Error| Failure::Undone(format!("{what}: {error}"));
    let address = listener.local_addr().map_err(|error| undone("the API has no address", error))?;
    let token = Token::generate().ok_or_else(|| Failure::Undone("the system gives no random bytes".into()))?;
    let file = ApiFile { url: format!("http://{address}"), token: token.as_str().to_owned(), pid: std::process::id() };
    let dir = api_dir(mesh, settings).map_err(|error| undone("no folder for api.json", error))?;
    let left = file.leave(&dir).map_err(|error| undone(&format!("{} cannot be written", dir.display()), error))?;
    let is_ours = mesh.data_dir().is_none() && settings.data_dir.value.is_none();
    let left = if is_ours { left.with_dir() } else { left };
    // A node that keeps nothing keeps no token either.
    let metrics_token = mesh.data_dir().map(metrics_token::keep).transpose();
    let metrics_token = metrics_token.map_err(|error| undone("metrics.token cannot be kept", error))?;
    let (end, ended) = oneshot::channel::<()>();
    let api = Arc::new(Api { node: mesh.clone(), events: ring.clone(), token, metrics_token });
    let task = tokio::spawn(async move {
        let ended = async {
            let _ = ended.await;
        };
        http::serve(listener, api, ended).await;
    });
    Ok(RunningApi { url: file.url, left, end, task })
}

/// Where `api.json` goes: the data folder, also a named one that holds nothing else, or a folder of this process.
fn api_dir(mesh: &Mesh, settings: &Settings) -> std::io::Result<PathBuf> {
    match (mesh.data_dir(), &settings.data_dir.value) {
        (Some(dir), _) => Ok(dir.to_owned()),
        (None, Some(dir)) => std::fs::create_dir_all(dir).map(|()| dir.clone()),
        (None, None) => places::make_memory_dir(),
    }
}

/// What a person should know at the start.
fn banner(started: &Started, settings: &Settings, log: &LogWriter) {
    let addresses = if started.addresses.is_empty() { "no address yet".into() } else { started.addresses.join(", ") };
    log.line(&format!("node {} ({}) on {addresses}", started.node_id, started.id));
    match &started.api {
        Some(url) => log.line(&format!("API {url}")),
        None => log.line("no API: the other verbs cannot reach this node"),
    }
    if started.security == Security::Open {
        log.line(&format!(
            "open mesh `{}`: anyone on this network can join it, and disturb it; `kodikon key new FILE` makes a key",
            settings.mesh_name.value
        ));
    }
    for notice in settings.notices() {
        log.line(&notice.to_string());
    }
}

/// The same, for a program that reads the log.
fn log_banner(started: &Started, settings: &Settings) {
    let Started { node_id, id, addresses, .. } = started;
    match &started.api {
        Some(api) => tracing::info!(%node_id, %id, ?addresses, %api, "node"),
        None => tracing::info!(%node_id, %id, ?addresses, "node without API: the other verbs cannot reach it"),
    }
    if started.security == Security::Open {
        let mesh = &settings.mesh_name.value;
        tracing::warn!(%mesh, "open mesh: anyone on this network can join it; `kodikon key new FILE` makes a key");
    }
    for notice in settings.notices() {
        tracing::warn!(origin = %notice.origin, "{}", notice.text);
    }
}

/// The signals that end a node.
pub(crate) struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    pub(crate) fn listen() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|error| Failure::Undone(format!("no signals: {error}")));
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    pub(crate) async fn any(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Another one than that which came first, then.
    async fn again(&mut self, first: Instant) {
        self.any().await;
        while first.elapsed() < SAME_SIGNAL {
            self.any().await;
        }
    }
}

/// The log goes to stderr: stdout holds results.
fn start_log(settings: &Settings, writer: LogWriter) {
    let level = match settings.log_level.value {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
        LogLevel::Info | _ => LevelFilter::INFO,
    };
    let ansi = print::stderr_is_coloured();
    let log = tracing_subscriber::fmt().with_writer(writer).with_max_level(level).with_ansi(ansi);
    // An error means that there is a log already.
    let _ = match settings.log_format.value {
        LogFormat::Json => log.event_format(JsonLines).try_init(),
        LogFormat::Text | _ => log.with_target(false).try_init(),
    };
}

/// Names this run in the ids of events, so that one of an earlier run is not taken for one of this.
fn run_name() -> String {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    format!("{:x}{:x}", std::process::id(), nanos & 0xffff_ffff_ffff)
}
