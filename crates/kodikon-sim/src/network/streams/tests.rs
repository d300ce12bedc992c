//! What streams do, shown without any node.

use super::*;
use crate::agenda::Agenda;
use crate::chance::source;
use crate::network::host::SegmentId;
use crate::network::quality::Quality;

const PEER: Asked = (NodeId([7; 16]), StreamUse::Canary);
const CLIENT: Owner = Owner { node: 0, run: 1 };
const SERVER: Owner = Owner { node: 1, run: 1 };

/// Two hosts, a client on the first and a server on the second.
struct Bench {
    network: Network,
    streams: Streams,
    agenda: Agenda<Step>,
    told: Vec<(Moment, Owner, News)>,
    server: Option<Owner>,
    now: Moment,
}

impl Bench {
    fn new() -> Self {
        let homes = vec![vec![SegmentId(0)]; 2];
        let mut network = Network::new(1, &homes, false, source(1, "network"));
        network.set_quality(SegmentId(0), Quality { jitter: Duration::ZERO, ..Quality::clean() });
        Self {
            network,
            streams: Streams::default(),
            agenda: Agenda::new(),
            told: Vec::new(),
            server: Some(SERVER),
            now: Moment::START,
        }
    }

    fn take(&mut self, outcome: Outcome) {
        outcome.steps.into_iter().for_each(|(at, step)| self.agenda.enter(at, step));
        self.told.extend(outcome.news.into_iter().map(|(owner, news)| (self.now, owner, news)));
    }

    fn connect(&mut self) {
        let sockets = [0, 1].map(|host| Socket { host: HostId(host), port: 10_000 });
        let source = "10.0.0.1:40000".parse().unwrap();
        let mut outcome = Outcome::default();
        self.streams.connect(self.now, CLIENT, (sockets[0], source), (Some(sockets[1]), PEER), &mut outcome);
        self.take(outcome);
    }

    fn run_until(&mut self, ms: u64) -> Vec<(u64, Owner, News)> {
        let end = Moment(ms * 1_000_000);
        while let Some((at, step)) = self.agenda.next_before(end) {
            self.now = at;
            let (mut outcome, server) = (Outcome::default(), self.server);
            self.streams.step(at, step, &mut self.network, |_| server, &mut outcome);
            self.take(outcome);
        }
        self.now = end;
        self.told.drain(..).map(|(at, owner, news)| (at.0 / 1_000, owner, news)).collect()
    }

    fn standing() -> (Self, StreamId, StreamId) {
        let mut bench = Self::new();
        bench.connect();
        let told = bench.run_until(10);
        let [(_, _, News::Opened(client, _)), (_, _, News::Offered(server, _))] = told[..] else { panic!("{told:?}") };
        (bench, client, server)
    }

    fn die(&mut self, owner: Owner, kernel_runs: bool) {
        let mut outcome = Outcome::default();
        self.streams.owner_died(self.now, owner, kernel_runs, &mut outcome);
        self.take(outcome);
    }

    fn send(&mut self, owner: Owner, stream: StreamId, byte: u8) {
        let mut outcome = Outcome::default();
        self.streams.send(self.now, owner, stream, vec![byte], &mut outcome);
        self.take(outcome);
    }
}

#[test]
fn a_connection_stands_after_one_round_trip_and_is_offered_half_a_trip_later() {
    let mut bench = Bench::new();
    bench.connect();
    let told = bench.run_until(100);
    let (client, server) = (StreamId(0), StreamId(1));
    let from = "10.0.0.1:40000".parse().unwrap();
    assert_eq!(told, [(300, CLIENT, News::Opened(client, PEER)), (450, SERVER, News::Offered(server, from))]);
}

#[test]
fn frames_arrive_in_order_through_loss() {
    let (mut bench, client, server) = Bench::standing();
    bench.network.set_quality(SegmentId(0), Quality { loss: crate::chance::Odds::of(0.4), ..Quality::clean() });
    (0..20).for_each(|n| bench.send(CLIENT, client, n));
    let told = bench.run_until(120_000);
    let frames: Vec<News> = told.into_iter().map(|(_, _, news)| news).collect();
    assert_eq!(frames, (0..20).map(|n| News::Frame(server, vec![n])).collect::<Vec<_>>());
}

#[test]
fn a_dead_process_ends_its_streams_in_half_a_millisecond_and_a_dead_host_does_not() {
    let (mut bench, client, _) = Bench::standing();
    bench.die(SERVER, true);
    assert_eq!(bench.run_until(100), [(10_450, CLIENT, News::Ended(client))]);
    assert!(bench.streams.is_empty());

    let (mut bench, client, _) = Bench::standing();
    bench.network.hosts[1].on = false;
    bench.die(SERVER, false);
    assert_eq!(bench.run_until(10_000), []);
    bench.network.hosts[1].on = true;
    bench.send(CLIENT, client, 1);
    let told = bench.run_until(20_000);
    assert_eq!(told.len(), 1, "the reborn host knows nothing of it and says so: {told:?}");
    assert_eq!(told[0].2, News::Ended(client));
}

#[test]
fn a_closed_port_refuses_at_once_and_a_firewall_lets_one_wait() {
    let mut bench = Bench::new();
    bench.server = None;
    bench.connect();
    assert_eq!(bench.run_until(10_000), [(300, CLIENT, News::Failed(PEER))]);
    let mut bench = Bench::new();
    bench.network.hosts[1].drops_tcp = true;
    bench.connect();
    assert_eq!(bench.run_until(10_000), [(5_000_000, CLIENT, News::Failed(PEER))]);
    assert!(bench.streams.is_empty());
}

#[test]
fn the_end_of_a_stream_waits_for_a_cut_to_heal() {
    let (mut bench, client, _) = Bench::standing();
    bench.network.set_cut(HostId(1), HostId(0), true);
    bench.die(SERVER, true);
    assert_eq!(bench.run_until(5_000), []);
    bench.network.set_cut(HostId(1), HostId(0), false);
    let told = bench.run_until(60_000);
    assert!(matches!(told[..], [(_, CLIENT, News::Ended(stream))] if stream == client), "{told:?}");
}

#[test]
fn who_closes_a_stream_is_told_nothing_more_of_it() {
    let (mut bench, client, server) = Bench::standing();
    let mut outcome = Outcome::default();
    bench.streams.close(bench.now, CLIENT, client, &mut outcome);
    bench.take(outcome);
    bench.send(SERVER, server, 1);
    assert_eq!(bench.run_until(1_000), [(10_150, SERVER, News::Ended(server))]);
    assert!(bench.streams.is_empty(), "nothing of it is left");
}
