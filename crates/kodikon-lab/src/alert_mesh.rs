//! Decides how long critical alerts take in a mesh that has nothing else to do, and in one of which a newcomer fetches the registry.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Value, json};

use crate::access::ApiAccess;
use crate::embeddings::write_embeddings;
use crate::event::{Elapsed, Event, Kind, Moment};
use crate::lab::Lab;
use crate::process::{Line, Process};
use crate::topology::Host;

/// Those who hold all, raise alerts and are shown those of the others.
const MEMBERS: [Host; 3] = [Host(1), Host(2), Host(3)];
const NEWCOMER: Host = Host(4);
const DIMS: usize = 512;
/// Between two alerts of one node: ten a second are told, and it has all phases of what the nodes do regularly.
const EVERY: Duration = Duration::from_millis(127);
/// So long they are active: a newcomer is shown few that are older than it, and no node has as many as it may.
const TTL_S: u32 = 20;
/// How often the newcomer is asked whether it holds all.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A round of heartbeats (5 s), so that each observer has heard its node.
const CALM: Duration = Duration::from_secs(6);
/// How long the slowest part may take.
const LIMIT: Duration = Duration::from_secs(600);
/// An alert that is told again and again is there by then.
const SHOWN_LIMIT: Duration = Duration::from_secs(60);

/// Three nodes with one registry on the first hosts of a lab, and room for a newcomer on the fourth.
#[derive(Debug)]
pub struct AlertMesh<'lab> {
    lab: &'lab Lab,
    binary: PathBuf,
    records: u32,
    members: Vec<Process>,
    teller: Sender<Shown>,
    told: Receiver<Shown>,
    /// The number of the next alert.
    next: AtomicU64,
}

/// What alerts took that were raised meanwhile.
#[derive(Clone, Debug, Default)]
pub struct AlertTimes {
    /// From before the first byte of the request until each other member had told of the alert.
    pub members: Vec<Elapsed>,
    /// Until the newcomer had, of those that it was not shown as late.
    pub newcomer: Vec<Elapsed>,
    /// How long they were raised: until the newcomer held all, where there was one.
    pub took: Duration,
}

/// A node has told of an alert.
#[derive(Debug)]
struct Shown {
    at: Host,
    number: u64,
    moment: Moment,
    is_late: bool,
}

/// An alert that was raised.
#[derive(Clone, Copy)]
struct Raised {
    by: Host,
    number: u64,
    mark: Moment,
}

impl<'lab> AlertMesh<'lab> {
    /// Starts the members, which then hold so many sightings of 512 numbers.
    ///
    /// # Errors
    /// When a node does not start, import or fetch.
    pub fn begin(lab: &'lab Lab, binary: impl Into<PathBuf>, records: u32) -> Result<Self> {
        let (teller, told) = channel();
        let (binary, next) = (binary.into(), AtomicU64::new(0));
        let mut mesh = Self { lab, binary, records, members: Vec::new(), teller, told, next };
        let file = lab.directory().join("sightings.npy");
        write_embeddings(&file, records, DIMS)?;
        for host in MEMBERS {
            let process = mesh.start(host)?;
            mesh.members.push(process);
            if host == MEMBERS[0] {
                let mut import = lab.command(host, &mesh.binary);
                import.arg("import").arg(&file).args(["--type", "person", "--model", "m", "--prefix", "p", "--json"]);
                import.arg("--data-dir").arg(mesh.data(host));
                lab.run(&mut import, LIMIT)?.success()?;
            }
        }
        for host in MEMBERS {
            let end = Instant::now() + LIMIT;
            while !mesh.holds_all(host)? {
                ensure!(Instant::now() < end, "{host} does not hold all within {LIMIT:?}");
                thread::sleep(LOOK_EVERY);
            }
        }
        thread::sleep(CALM);
        Ok(mesh)
    }

    /// Raises alerts for a while in which nothing else happens.
    ///
    /// # Errors
    /// When an alert is refused or does not come.
    pub fn idle(&mut self, time: Duration) -> Result<AlertTimes> {
        let end = Instant::now() + time;
        self.raise_until(|_| Ok(Instant::now() >= end))
    }

    /// Raises alerts while a newcomer fetches all, which then is gone without trace.
    ///
    /// # Errors
    /// When an alert is refused or does not come, or the newcomer does not fetch.
    pub fn fetch(&mut self) -> Result<AlertTimes> {
        let began = Instant::now();
        let mut newcomer = None;
        let times = self.raise_until(|mesh| {
            if newcomer.is_none() {
                newcomer = Some(mesh.start(NEWCOMER)?);
            }
            ensure!(began.elapsed() < LIMIT, "the newcomer does not hold all within {LIMIT:?}");
            mesh.holds_all(NEWCOMER)
        })?;
        if let Some(mut newcomer) = newcomer {
            newcomer.kill()?;
        }
        fs::remove_dir_all(self.data(NEWCOMER))?;
        thread::sleep(CALM);
        Ok(times)
    }

    /// All members raise alerts at their pace until `is_over`.
    fn raise_until(&mut self, mut is_over: impl FnMut(&Self) -> Result<bool>) -> Result<AlertTimes> {
        let (began, stop) = (Instant::now(), AtomicBool::new(false));
        let doors = MEMBERS.map(|host| Door::of(self, host));
        let (raised, over) = thread::scope(|scope| {
            let (next, stop) = (&self.next, &stop);
            let raise = |(place, door): (u32, Result<Door>)| {
                // They take turns.
                let first = began + EVERY * place / 3;
                scope.spawn(move || door?.raise(first, next, stop))
            };
            let raisers: Vec<_> = (0..).zip(doors).map(raise).collect();
            let over = loop {
                match is_over(self) {
                    Ok(false) => thread::sleep(LOOK_EVERY),
                    Ok(true) => break Ok(began.elapsed()),
                    Err(error) => break Err(error),
                }
            };
            stop.store(true, Ordering::Relaxed);
            let raised = raisers.into_iter().map(|raiser| raiser.join().map_err(|_| anyhow!("a raiser panicked"))?);
            (raised.collect::<Result<Vec<(Vec<Raised>, Answers)>>>(), over)
        });
        let (raised, answers): (Vec<Vec<Raised>>, Vec<Answers>) = raised?.into_iter().unzip();
        let times = self.await_shown(&raised.concat());
        // What was refused is not shown, and says why.
        raised.iter().zip(answers).try_for_each(|(raised, answers)| answers.expect(raised.len()))?;
        Ok(AlertTimes { took: over?, ..times? })
    }

    /// Waits until each alert was shown at all members but its own.
    fn await_shown(&self, raised: &[Raised]) -> Result<AlertTimes> {
        let mut times = AlertTimes::default();
        let awaited = raised.len() * (MEMBERS.len() - 1);
        let end = Instant::now() + SHOWN_LIMIT;
        while times.members.len() < awaited {
            let left = end.saturating_duration_since(Instant::now());
            let shown = self.told.recv_timeout(left);
            let shown = shown.with_context(|| format!("{} of {awaited} were shown", times.members.len()))?;
            let Some(alert) = raised.iter().find(|alert| alert.number == shown.number) else { continue };
            let elapsed = shown.moment.since(alert.mark);
            if shown.at == NEWCOMER {
                times.newcomer.extend((!shown.is_late).then_some(elapsed));
            } else if shown.at != alert.by {
                times.members.push(elapsed);
            }
        }
        Ok(times)
    }

    /// Starts a node and waits until it says that it runs. Of what it tells later the alerts are read.
    fn start(&self, host: Host) -> Result<Process> {
        let mut command = self.lab.command(host, &self.binary);
        command.args(["up", "--json", "--node-id", &host.to_string(), "--data-dir"]).arg(self.data(host));
        let (started, has_started) = channel();
        let teller = self.teller.clone();
        let process = self.lab.spawn_into(&mut command, move |line| {
            // An error means that nobody waits for it any more.
            if line.text.contains("\"event\":\"started\"") {
                _ = started.send(());
            } else if let Some(shown) = shown(host, &line) {
                _ = teller.send(shown);
            }
        })?;
        has_started.recv_timeout(LIMIT).with_context(|| format!("{host} does not say that it runs"))?;
        Ok(process)
    }

    fn data(&self, host: Host) -> PathBuf {
        self.lab.directory().join(format!("alert-mesh-{host}"))
    }

    /// Whether a node can find all the sightings: while alerts come something always waits for the disk. It is asked without a verb, whose launch takes a part of the processor.
    fn holds_all(&self, host: Host) -> Result<bool> {
        let Door { mut stream, head, .. } = Door::of(self, host)?;
        let head = format!("GET /v1/stats HTTP/1.0\r\n{head}\r\n");
        stream.write_all(head.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (_, body) = answer.split_once("\r\n\r\n").with_context(|| format!("{host} answers {answer}"))?;
        let stats: Value = serde_json::from_str(body).with_context(|| format!("{host} answers {answer}"))?;
        Ok(stats.pointer("/registry/embeddings").and_then(Value::as_u64) == Some(self.records.into()))
    }
}

/// A connection to a node's API.
struct Door {
    host: Host,
    stream: TcpStream,
    /// The header fields of each request.
    head: String,
}

impl Door {
    fn of(mesh: &AlertMesh<'_>, host: Host) -> Result<Self> {
        let ApiAccess { address, head } = ApiAccess::read(&mesh.data(host))?;
        let stream = mesh.lab.inside(host, || TcpStream::connect(address))??;
        stream.set_nodelay(true)?;
        Ok(Self { host, stream, head })
    }

    /// Raises alerts and does not wait for the answers: one that is slow is in the times of the next.
    fn raise(mut self, first: Instant, next: &AtomicU64, stop: &AtomicBool) -> Result<(Vec<Raised>, Answers)> {
        let answers = Answers::of(&self.stream)?;
        let (mut raised, mut due) = (Vec::new(), first);
        loop {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if stop.load(Ordering::Relaxed) {
                return Ok((raised, answers));
            }
            let number = next.fetch_add(1, Ordering::Relaxed);
            let body = json!({"alert": {"n": number}, "priority": "critical", "ttl_s": TTL_S}).to_string();
            let kind = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
            let text = format!("POST /v1/alerts HTTP/1.1\r\n{}{kind}\r\n{body}", self.head);
            raised.push(Raised { by: self.host, number, mark: Moment::now() });
            self.stream.write_all(text.as_bytes())?;
            due += EVERY;
        }
    }
}

/// The alert that a line tells of. Lines of sightings, which are a hundred times as many, are not looked into.
fn shown(at: Host, line: &Line) -> Option<Shown> {
    if !line.text.contains("\"event\":\"alert\"") {
        return None;
    }
    let event = Event::parse(&line.text).ok().filter(|event| event.kind == Kind::Alert)?;
    let number = event.fields.get("alert")?.get("n")?.as_u64()?;
    let is_late = event.fields.get("late").is_some_and(|late| late == true);
    Some(Shown { at, number, moment: Moment { read: line.at, told: event.told }, is_late })
}

/// What a node answers on a connection, read as it comes.
struct Answers {
    stream: TcpStream,
    reader: thread::JoinHandle<String>,
}

impl Answers {
    fn of(stream: &TcpStream) -> Result<Self> {
        let mut reading = stream.try_clone()?;
        let reader = thread::spawn(move || {
            let mut text = Vec::new();
            // How it ends says nothing: what was answered until then is counted.
            _ = reading.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        Ok(Self { stream: stream.try_clone()?, reader })
    }

    /// None of so many was refused.
    fn expect(self, count: usize) -> Result<()> {
        // The last may wait for the disk still.
        thread::sleep(LOOK_EVERY);
        self.stream.shutdown(Shutdown::Both)?;
        let text = self.reader.join().map_err(|_| anyhow!("the reader of the answers panicked"))?;
        let taken = text.matches("HTTP/1.1 2").count();
        ensure!(taken <= count && text.matches("HTTP/1.1 ").count() == taken, "of {count} some were refused: {text}");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_nodes_lines_those_that_show_an_alert_are_read() {
        let at = Instant::now();
        let table = [
            (r#"{"event":"alert","at":1.5,"node_id":"n2","alert":{"n":7},"late":false}"#, Some((7, false))),
            (r#"{"event":"alert","at":1.5,"node_id":"n2","alert":{"n":8},"late":true}"#, Some((8, true))),
            (r#"{"event":"alert","at":1.5,"node_id":"n2","alert":{"door":3},"late":false}"#, None),
            (r#"{"event":"alert_ack","at":1.5,"node_id":"n2","alert":{"n":7}}"#, None),
            (r#"{"event":"record","at":1.5,"record":{"hash_value":"\"event\":\"alert\""}}"#, None),
        ];
        for (text, expected) in table {
            let found = shown(Host(2), &Line { at, text: text.to_owned() });
            assert_eq!(found.map(|shown| (shown.number, shown.is_late)), expected, "{text}");
        }
    }
}
