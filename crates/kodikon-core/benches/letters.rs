//! Decides whether a letter is cheap enough: prints what each step of one costs and fails where a median is over its limit.
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "a benchmark reads the clock")]
#![expect(clippy::print_stdout, reason = "the figures are what it is for")]
#![allow(dead_code, reason = "the tests of letters use more of the segments that they share with this")]

#[path = "../tests/letters/segments.rs"]
mod segments;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use kodikon_core::effect::{Arrival, Cast, Command, Input, Output, SendOrder};
use kodikon_core::ground::id::InterfaceIndex;
use kodikon_core::model::letter::{Priority, Ticket};
use kodikon_core::node::Node;
use segments::{Segments, id};

/// Letters of one sample, and samples of which the median counts.
const LETTERS: u64 = 200;
const SAMPLES: usize = 51;
/// Between two letters, in the nodes' time: far below what a peer may send.
const GAP: Duration = Duration::from_millis(50);

/// What one letter took.
#[derive(Debug, Default, Clone, Copy)]
struct Cost {
    /// From the command until the last datagram is ready.
    send: Duration,
    /// At the receiver, until it is with the application and answered.
    receive: Duration,
    /// At the sender, until it knows.
    settle: Duration,
}

fn main() -> ExitCode {
    let micros = Duration::from_micros;
    let mut is_fast = true;
    for (bytes, limit) in [(64, micros(20)), (1_000, micros(25)), (64_000, micros(1_500))] {
        let mut bench = Bench::new();
        bench.sample(bytes);
        let mut samples: Vec<Cost> = (0..SAMPLES).map(|_| bench.sample(bytes)).collect();
        let mut median = |of: fn(&Cost) -> Duration| {
            samples.sort_by_key(of);
            of(&samples[SAMPLES / 2])
        };
        let (send, receive) = (median(|cost| cost.send), median(|cost| cost.receive));
        let settle = median(|cost| cost.settle);
        println!(
            "letter of {bytes} B: send {send:?}, receive {receive:?}, settle {settle:?} (limit of each {limit:?})"
        );
        is_fast &= send.max(receive).max(settle) <= limit;
    }
    if is_fast { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Two neighbours.
struct Bench {
    mesh: Segments,
    written: u64,
}

impl Bench {
    fn new() -> Self {
        Self { mesh: Segments::line(2), written: 0 }
    }

    /// The mean of one letter among many.
    fn sample(&mut self, bytes: usize) -> Cost {
        let mut sum = Cost::default();
        for _ in 0..LETTERS {
            let cost = self.letter(bytes);
            sum.send += cost.send;
            sum.receive += cost.receive;
            sum.settle += cost.settle;
        }
        let mean = |sum: Duration| sum / u32::try_from(LETTERS).expect("few letters");
        Cost { send: mean(sum.send), receive: mean(sum.receive), settle: mean(sum.settle) }
    }

    fn letter(&mut self, bytes: usize) -> Cost {
        self.mesh.now = self.mesh.now + GAP;
        self.written += 1;
        let order = SendOrder {
            ticket: Ticket(self.written),
            to: id(2),
            kind: String::new(),
            payload: vec![b'1'; bytes],
            priority: Priority::Normal,
            timeout: None,
        };
        let begun = Instant::now();
        let mut sent = self.hand(1, Input::Command(Command::Send(order)));
        let send = begun.elapsed();
        let mut cost = Cost { send, ..Cost::default() };
        // Carryings and their answers, until nothing is said any more.
        for receiver in [2, 1].into_iter().cycle() {
            let begun = Instant::now();
            let mut answers = Vec::new();
            for mut frame in sent {
                let arrival =
                    Arrival { from: address(3 - receiver), interface: InterfaceIndex(1), cast: Cast::Unicast };
                answers.append(&mut self.hand(receiver, Input::Datagram(arrival, &mut frame)));
            }
            let wake = self.mesh.nodes[&receiver].next_wake();
            if let Some(at) = wake.map(|wake| wake.at).filter(|at| at.since(self.mesh.now) < GAP) {
                self.mesh.now = self.mesh.now.max(at);
                answers.append(&mut self.hand(receiver, Input::Wake));
            }
            if receiver == 2 {
                cost.receive += begun.elapsed()
            } else {
                cost.settle += begun.elapsed()
            }
            sent = answers;
            if sent.is_empty() {
                break;
            }
        }
        cost
    }

    /// Hands one input to a node; what it sends to the other.
    fn hand(&mut self, n: u8, input: Input<'_>) -> Vec<Vec<u8>> {
        let node: &mut Node = self.mesh.nodes.get_mut(&n).expect("it runs");
        node.handle(self.mesh.now, input);
        let mut sent = Vec::new();
        while let Some(output) = node.poll_output() {
            if let Output::Transmit(transmit) = output {
                sent.push(transmit.bytes);
            }
        }
        sent
    }
}

fn address(n: u8) -> std::net::SocketAddr {
    std::net::SocketAddr::from(([10, 0, 1, n], 10_000))
}
