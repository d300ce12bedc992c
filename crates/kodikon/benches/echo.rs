//! Decides what an echo costs: a message of 64 bytes and its answer through the library's callbacks, the same over bare
//! sockets, and how many messages a node confirms. `cargo bench -p kodikon --bench echo` runs all of it on this computer's
//! loopback interface; the measurements run each end by itself, on hosts of their own.
#![expect(clippy::print_stdout, reason = "the figures are what it is for")]

use std::error::Error;
use std::future::IntoFuture as _;
use std::net::{Ipv4Addr, UdpSocket};
use std::pin::pin;
use std::sync::mpsc::{Receiver, sync_channel};
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};

use kodikon::api::What;
use kodikon::{EventKind, Letter, Mesh, Outcome, SendError};
use serde_json::{Value, json};
use tokio::runtime;
use tokio::task::JoinSet;

type Fallible<T> = Result<T, Box<dyn Error>>;

const PORT: u16 = 7_707;
const SERVER: &str = "echo";
/// Bytes of a datagram, and of a message's JSON.
const BYTES: usize = 64;
/// Round trips before those that count: keys, buffers and caches are made by then.
const WARM_UP: u32 = 100;
/// Longer than any answer takes: a lost datagram of the bare sockets would else be waited for without end.
const LIMIT: Duration = Duration::from_secs(10);
const ROUNDS: u32 = 2_000;
const CONFIRMATIONS: u32 = 20_000;
/// Confirmations awaited at the same time.
const WINDOW: usize = 64;
const USAGE: &str =
    "serve-udp | ask-udp ROUNDS ADDRESS | serve-mesh | ask-mesh ROUNDS | hand-mesh ROUNDS | confirm COUNT WINDOW";

fn main() -> Fallible<()> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["serve-udp"] => serve_udp(Ipv4Addr::UNSPECIFIED),
        ["ask-udp", rounds, address] => ask_udp(rounds.parse()?, address.parse()?).map(|times| tell(&times)),
        ["serve-mesh"] => serve_mesh(None).map(|_mesh| sleep_for_ever()),
        ["ask-mesh", rounds] => ask_mesh(rounds.parse()?, None).map(|times| tell(&times)),
        ["hand-mesh", rounds] => hand_mesh(rounds.parse()?, None).map(|times| tell(&times)),
        ["confirm", count, window] => {
            let mesh = join("confirm", None)?;
            println!("{}", json!({"ready": true}));
            confirm(&mesh, count.parse()?, window.parse()?)?;
            // Its CPU time is read by who started it, and who then ends it.
            sleep_for_ever()
        }
        [] => here(),
        _ => Err(USAGE.into()),
    }
}

/// Both ends in this process, on the loopback interface.
fn here() -> Fallible<()> {
    thread::spawn(|| serve_udp(Ipv4Addr::LOCALHOST).map_err(|error| error.to_string()));
    let lo = Some("lo");
    let _server = serve_mesh(lo)?;
    for (what, mut times) in [
        ("raw UDP", ask_udp(ROUNDS, Ipv4Addr::LOCALHOST)?),
        ("callbacks", ask_mesh(ROUNDS, lo)?),
        ("handed over by a thread", hand_mesh(ROUNDS, lo)?),
    ] {
        times.sort_by(f64::total_cmp);
        println!("{what}: {:.1} µs, median of {ROUNDS} round trips", times[times.len() / 2]);
    }
    confirm(&join("confirm", lo)?, CONFIRMATIONS, WINDOW)
}

fn tell(times_us: &[f64]) {
    println!("{}", json!({"rtt_us": times_us}));
}

fn sleep_for_ever() -> ! {
    loop {
        thread::park();
    }
}

// ---- bare sockets ----

fn serve_udp(address: Ipv4Addr) -> Fallible<()> {
    let socket = UdpSocket::bind((address, PORT))?;
    let mut buffer = [0; BYTES];
    loop {
        let (length, from) = socket.recv_from(&mut buffer)?;
        socket.send_to(&buffer[..length], from)?;
    }
}

fn ask_udp(rounds: u32, address: Ipv4Addr) -> Fallible<Vec<f64>> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect((address, PORT))?;
    socket.set_read_timeout(Some(LIMIT))?;
    let mut buffer = [0; BYTES];
    times(rounds, || {
        socket.send(&buffer)?;
        socket.recv(&mut buffer)?;
        Ok(Instant::now())
    })
}

// ---- the library ----

/// A node that sends back whatever is said to it, from within its handler: on the node's own loop, where handing on is allowed.
fn serve_mesh(interface: Option<&str>) -> Fallible<Mesh> {
    let mesh = start(SERVER, interface)?;
    let own = mesh.clone();
    mesh.on_inline(EventKind::Message, move |event| {
        if let What::Message { source, payload, kind, .. } = &event.what
            && kind == "echo"
        {
            post(own.send(source.as_str(), payload.clone()).kind("echo"));
        }
    })?;
    Ok(mesh)
}

/// Each message is said from within the handler of the answer before: at both ends all of it is on the node's own loop.
fn ask_mesh(rounds: u32, interface: Option<&str>) -> Fallible<Vec<f64>> {
    let mesh = join("ask", interface)?;
    let (sender, done) = sync_channel(1);
    let (own, mut left, mut found) = (mesh.clone(), WARM_UP + rounds, Vec::new());
    let mut asked = Instant::now();
    mesh.on_inline(EventKind::Message, move |_| {
        if left <= rounds {
            found.push(asked.elapsed().as_secs_f64() * 1e6);
        }
        left = left.saturating_sub(1);
        if left > 0 {
            asked = Instant::now();
            post(own.send(SERVER, payload()).kind("echo"));
        } else {
            // Nobody waits for a second one.
            let _ = sender.try_send(std::mem::take(&mut found));
        }
    })?;
    post(mesh.send(SERVER, payload()).kind("echo"));
    let found = done.recv_timeout(LIMIT).map_err(|_| "an answer did not come")?;
    block_on(mesh.shutdown())?;
    Ok(found)
}

/// Each message is handed over by a thread of the application, which waits for the answer and is told of it by the handler.
fn hand_mesh(rounds: u32, interface: Option<&str>) -> Fallible<Vec<f64>> {
    let mesh = join("hand", interface)?;
    let (sender, answers) = sync_channel(1);
    mesh.on_inline(EventKind::Message, move |_| {
        // The time of the answer is the handler's, not that of who waits for it. Nobody waits for a second one.
        let _ = sender.try_send(Instant::now());
    })?;
    let found = times(rounds, || {
        post(mesh.send(SERVER, payload()).kind("echo"));
        answer(&answers)
    })?;
    block_on(mesh.shutdown())?;
    Ok(found)
}

fn answer(answers: &Receiver<Instant>) -> Fallible<Instant> {
    answers.recv_timeout(LIMIT).map_err(|_| "no answer came".into())
}

/// Sends messages, a number of them under way at a time, until all are confirmed; prints how long it took.
fn confirm(mesh: &Mesh, count: u32, window: usize) -> Fallible<()> {
    let (delivered, took) = block_on(async {
        let start = Instant::now();
        let (mut under_way, mut delivered) = (JoinSet::<Result<Outcome, SendError>>::new(), 0u32);
        for sent in 0..count as usize + window {
            if sent >= window
                && let Some(done) = under_way.join_next().await
            {
                delivered += u32::from(done.is_ok_and(|sent| sent.is_ok_and(|outcome| outcome.is_delivered())));
            }
            if sent < count as usize {
                under_way.spawn(mesh.send(SERVER, payload()).into_future());
            }
        }
        (delivered, start.elapsed())
    })?;
    if delivered < count {
        return Err(format!("{delivered} of {count} were confirmed").into());
    }
    println!("{}", json!({"confirmed": delivered, "seconds": took.as_secs_f64()}));
    Ok(())
}

/// A node that knows the server.
fn join(name: &str, interface: Option<&str>) -> Fallible<Mesh> {
    let mesh = start(name, interface)?;
    let begun = Instant::now();
    while mesh.routes().iter().all(|route| route.name() != SERVER) {
        if begun.elapsed() > LIMIT {
            return Err("the server is not in the mesh".into());
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(mesh)
}

fn start(name: &str, interface: Option<&str>) -> Fallible<Mesh> {
    let builder = Mesh::builder(name).in_memory().mesh_name("echo-bench").interfaces(interface);
    Ok(block_on(builder.start())??)
}

/// Sends a message, and leaves it to itself what becomes of it.
fn post(letter: Letter) {
    // The first poll hands it to the node; whoever does not ask again is not told.
    let _ = pin!(letter.into_future()).as_mut().poll(&mut Context::from_waker(Waker::noop()));
}

fn payload() -> Value {
    // With its two quotation marks.
    Value::from("x".repeat(BYTES - 2))
}

fn block_on<F: Future>(future: F) -> Fallible<F::Output> {
    Ok(runtime::Builder::new_current_thread().enable_all().build()?.block_on(future))
}

/// The time of each round in µs, one after the other.
fn times(rounds: u32, mut round: impl FnMut() -> Fallible<Instant>) -> Fallible<Vec<f64>> {
    let mut found = Vec::new();
    for number in 0..WARM_UP + rounds {
        let start = Instant::now();
        let end = round()?;
        if number >= WARM_UP {
            found.push(end.saturating_duration_since(start).as_secs_f64() * 1e6);
        }
    }
    Ok(found)
}
