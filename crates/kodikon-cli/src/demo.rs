//! `demo`: a fleet of simulated cameras in this process, until it is told to end: who comes, what changes, what is seen, who goes.

mod camera;
mod show;
mod sightings;

use std::pin::pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kodikon::api::What;
use kodikon::{EventStream, Mesh, Priority, Query, Record};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::args::{Common, DemoArgs};
use crate::daemon::{Signals, event_loop};
use crate::demo::camera::Camera;
pub(crate) use crate::demo::camera::Chance;
use crate::demo::show::Show;
use crate::demo::sightings::{MODEL, Sighting, Sightings};
use crate::outcome::{Done, Failure};
use crate::places::LOOPBACK;

/// A mesh of its own, so that no real node ever hears of it.
const MESH: &str = "kodikon-demo";
/// Between two changes somewhere in the fleet: each is a line, and people can read so many.
const TURN: Duration = Duration::from_millis(500);
/// Turns between two of the fleet itself: a camera goes, the next one comes.
const MOVE_EVERY: u64 = 8;
/// The first of these turns, early enough for those who look for a moment only.
const FIRST_MOVE: u64 = 3;
/// Turns between two sightings: the other turns change a state.
const SEE_EVERY: u64 = 2;
/// Sightings between two that are worth an alert, and the first of them: early, as the first move is.
const ALERT_EVERY: u64 = 12;
const FIRST_ALERT: u64 = 2;
/// How long a sighting is remembered: the fleet of a demo that runs for days holds some hundreds.
const REMEMBERED: Duration = Duration::from_secs(300);
/// How long an alert is active, and how long its receipts are waited for.
const ALERT_FOR: Duration = Duration::from_secs(30);
const RECEIPTS_WITHIN: Duration = Duration::from_secs(5);
/// More alike than this, and a camera takes two sightings for one object: of the real data's pairs of one object nine in ten are.
const SAME: f64 = 0.85;
/// Answers that wait to be shown: as many as can be asked for while a table is printed.
const ANSWERS: usize = 64;
/// Between two tables.
const TABLE: Duration = Duration::from_secs(5);
/// How long the last events may take; a goodbye takes some 40 ms.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Runs a fleet until it is told to end.
pub(crate) fn run(common: &Common, args: &DemoArgs) -> Result<Done, Failure> {
    event_loop()?.block_on(live(common.json, args))
}

async fn live(json: bool, args: &DemoArgs) -> Result<Done, Failure> {
    let mut signals = Signals::listen()?;
    let (told, mut answers) = mpsc::channel(ANSWERS);
    let (chance, sightings) = (Chance::new(seed()), Sightings::default());
    let mut fleet = Fleet { members: Vec::new(), next: 1, chance, sightings, seen: 0, told, args: args.clone() };
    let mut show = Show::new(json);
    let mut events = fleet.join(&mut show).await?;
    while fleet.members.len() < usize::from(args.nodes) {
        fleet.join(&mut show).await?;
    }
    banner(args);
    let ended = run_fleet(&mut fleet, &mut events, &mut answers, &mut show, args.seconds);
    let ended = tokio::select! {
        ended = ended => ended,
        () = signals.any() => Ok(()),
    };
    tokio::select! {
        () = fleet.end(&mut events, &mut show) => {}
        () = signals.any() => return Err(Failure::Undone("ended without goodbyes".into())),
    }
    ended.map(|()| Done::Well)
}

/// Lets the fleet live until its time is over or nobody reads any more.
async fn run_fleet(
    fleet: &mut Fleet,
    events: &mut EventStream,
    answers: &mut mpsc::Receiver<Value>,
    show: &mut Show,
    seconds: Option<u64>,
) -> Result<(), Failure> {
    let mut turns = tokio::time::interval_at(tokio::time::Instant::now() + TURN, TURN);
    let mut tables = tokio::time::interval_at(tokio::time::Instant::now() + TABLE, TABLE);
    let over = async {
        match seconds {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    };
    let mut over = pin!(over);
    let mut turn = 0;
    while show.has_readers() {
        tokio::select! {
            () = &mut over => break,
            event = events.next() => match event {
                Some(event) => show.event(&event)?,
                None => return Err(Failure::Undone("the first camera has stopped by itself".into())),
            },
            Some(answer) = answers.recv() => show.answer(&answer)?,
            _ = turns.tick() => {
                turn += 1;
                fleet.turn(turn, show).await?;
            }
            _ = tables.tick() => show.table(&fleet.observer().mesh).await?,
        }
    }
    Ok(())
}

/// A camera of the fleet.
struct Member {
    mesh: Mesh,
    camera: Camera,
}

/// The cameras. The first one is the observer, through whose eyes all is shown; it stays to the end.
struct Fleet {
    members: Vec<Member>,
    /// The number of the next camera: none comes back under an old name.
    next: usize,
    chance: Chance,
    sightings: Sightings,
    seen: u64,
    /// Where a camera tells what it was answered.
    told: mpsc::Sender<Value>,
    args: DemoArgs,
}

impl Fleet {
    fn observer(&self) -> &Member {
        self.members.first().expect("the first camera stays to the end")
    }

    /// Starts the next camera.
    async fn join(&mut self, show: &mut Show) -> Result<EventStream, Failure> {
        let camera = Camera::new(self.next);
        let builder = Mesh::builder(&format!("camera-{}", self.next)).in_memory().mesh_name(MESH);
        let builder = builder.interfaces([LOOPBACK]).udp_port(self.args.udp_port).state(camera.state());
        let started = builder.start_watched().await;
        let (mesh, events) = started.map_err(|error| Failure::Undone(error.to_string()))?;
        self.next += 1;
        show.started(&mesh.started(None))?;
        self.members.push(Member { mesh, camera });
        Ok(events)
    }

    /// Something changes at one camera; now and then one goes, and later another comes.
    async fn turn(&mut self, turn: u64, show: &mut Show) -> Result<(), Failure> {
        if turn % MOVE_EVERY == FIRST_MOVE {
            if self.members.len() < usize::from(self.args.nodes) {
                self.join(show).await?;
            } else if self.members.len() > 1 {
                let member = self.members.remove(1 + self.chance.below(self.members.len() - 1));
                // It says goodbye while the others go on.
                tokio::spawn(async move { member.mesh.shutdown().await });
            }
        }
        if turn.is_multiple_of(SEE_EVERY) {
            self.see();
            return Ok(());
        }
        let at = self.chance.below(self.members.len());
        let member = &mut self.members[at];
        let change: Value = member.camera.change(&mut self.chance);
        member.mesh.set_state(change).map_err(|error| Failure::Undone(error.to_string()))
    }

    /// A camera sees something, tells all, and asks who else has seen it; now and then that is worth an alert.
    fn see(&mut self) {
        let sighting = self.sightings.next(self.members.len(), &mut self.chance);
        self.seen += 1;
        let is_odd = self.seen % ALERT_EVERY == FIRST_ALERT;
        let (mesh, told) = (self.members[sighting.at].mesh.clone(), self.told.clone());
        // The fleet goes on meanwhile. What cannot be told is not shown: the camera has gone, or nobody reads.
        tokio::spawn(async move {
            if let Some(answer) = ask(&mesh, &sighting).await {
                let _ = told.send(answer).await;
            }
            if is_odd && let Some(answer) = alert(&mesh, &sighting).await {
                let _ = told.send(answer).await;
            }
        });
    }

    /// Everyone says goodbye, the observer last, so that it tells of the others.
    async fn end(&mut self, events: &mut EventStream, show: &mut Show) {
        let others: Vec<Member> = self.members.drain(1..).collect();
        let mut left = others.len();
        let goodbyes: Vec<_> =
            others.into_iter().map(|member| tokio::spawn(async move { member.mesh.shutdown().await })).collect();
        let listen = async {
            while left > 0 {
                let Some(event) = events.next().await else { break };
                left -= usize::from(matches!(event.what, What::PeerLeft { .. }));
                // Nobody reads any more, or cannot: the goodbyes are said all the same.
                let _ = show.event(&event);
            }
        };
        // An error means that a goodbye was not heard in time.
        let _ = tokio::time::timeout(LAST_WORDS, listen).await;
        for goodbye in goodbyes {
            // An error means that it panicked, which its thread has said.
            let _ = goodbye.await;
        }
        self.observer().mesh.shutdown().await;
    }
}

/// Tells all of a sighting and asks what looks like it.
async fn ask(mesh: &Mesh, sighting: &Sighting) -> Option<Value> {
    let record = Record::new(&sighting.hash).data_type("object").embedding(sighting.embedding.clone(), MODEL);
    mesh.add(record.ttl(REMEMBERED)).await.ok()?;
    let report = mesh.search(Query::like(&sighting.hash).k(3)).await.ok()?.summary().await.ok()?;
    let alike = report.results.iter().filter(|found| found.score >= SAME);
    let seen_by: Vec<String> = alike.map(|found| format!("{} {:.2}", found.record.node_id, found.score)).collect();
    let is_right =
        report.results.first().map(|best| sightings::object_of(&best.record.hash_value) == Some(sighting.object));
    Some(json!({
        "event": "search",
        "at": now(),
        "node_id": mesh.name(),
        "like": sighting.hash,
        "found": seen_by.len(),
        "seen_by": seen_by,
        "is_right": is_right.filter(|_| !seen_by.is_empty()),
        "responded": report.responded,
        "of": report.of,
        "certified": report.certified,
        "elapsed_ms": (report.elapsed_ms * 1_000.0).round() / 1_000.0,
    }))
}

/// Raises an alert about a sighting and waits for those who show it.
async fn alert(mesh: &Mesh, sighting: &Sighting) -> Option<Value> {
    let began = std::time::Instant::now();
    let alert = mesh.alert(json!({"left_alone": sighting.hash})).priority(Priority::High).ttl(ALERT_FOR);
    let mut raised = alert.send().await.ok()?;
    let end = tokio::time::Instant::now() + RECEIPTS_WITHIN;
    // Cameras in memory never say that they have it on disk, and those that have gone are owed it yet: who is there and has shown it is enough.
    let report = loop {
        let report = raised.report().await.ok()?;
        let has_shown = |peer: &kodikon::Peer| report.delivered.iter().any(|name| name == peer.name());
        if mesh.peers().iter().filter(|peer| peer.is_alive()).all(has_shown)
            || tokio::time::timeout_at(end, raised.next()).await.is_err()
        {
            break report;
        }
    };
    let after_ms = (began.elapsed().as_secs_f64() * 10_000.0).round() / 10.0;
    Some(json!({
        "event": "alert_shown",
        "at": now(),
        "node_id": mesh.name(),
        "alert_id": report.alert_id,
        "alert": {"left_alone": sighting.hash},
        "delivered": report.delivered,
        "missing": report.missing.len(),
        "after_ms": after_ms,
    }))
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

fn banner(args: &DemoArgs) {
    let DemoArgs { nodes, udp_port, .. } = args;
    eprintln!("{nodes} cameras in the open mesh `{MESH}` on this machine alone, seen by camera-1; Ctrl-C ends");
    eprintln!("join them with: kodikon up --in-memory --mesh {MESH} --interface {LOOPBACK} --udp-port {udp_port}");
}

/// Another story each time.
#[expect(clippy::cast_possible_truncation, reason = "the low bits are the ones that differ")]
fn seed() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}
