//! Decides how streams and processes meet: wishes go to the streams, their news to the processes.

use kodikon_core::effect::StreamWish;

use crate::cluster::process::Deferred;
use crate::cluster::{Cluster, Happening, Observer};
use crate::network::Socket;
use crate::network::host::FIRST_PORT;
use crate::network::streams::{Outcome, Owner, Step};

impl<O: Observer> Cluster<O> {
    pub(super) fn wish_stream(&mut self, node: usize, wish: StreamWish) {
        let slot = &self.nodes[node];
        let owner = Owner { node, run: slot.run };
        let from = Socket { host: slot.host, port: slot.port };
        let mut outcome = Outcome::default();
        match wish {
            StreamWish::Connect { peer, purpose, to, interface } => {
                let way = self.network.locate(from, to, interface);
                let (to, source) =
                    way.map_or((None, to), |(host, source)| (Some(Socket { host, port: to.port() }), source));
                self.streams.connect(self.now, owner, (from, source), (to, (peer, purpose)), &mut outcome);
            }
            StreamWish::Send { stream, bytes } => self.streams.send(self.now, owner, stream, bytes, &mut outcome),
            StreamWish::Close { stream } => self.streams.close(self.now, owner, stream, &mut outcome),
        }
        self.settle_streams(outcome);
    }

    pub(super) fn step_stream(&mut self, step: Step) {
        let mut outcome = Outcome::default();
        let (nodes, first, hosts) = (&self.nodes, &self.first_of_host, self.network.hosts.len());
        let listener = |socket: Socket| {
            let place = socket.port.checked_sub(FIRST_PORT).map(usize::from)?;
            let node = first.get(socket.host.place())? + place;
            let last = if socket.host.place() + 1 < hosts { first[socket.host.place() + 1] } else { nodes.len() };
            let slot = nodes.get(node).filter(|_| node < last)?;
            slot.process.is_some().then_some(Owner { node, run: slot.run })
        };
        self.streams.step(self.now, step, &mut self.network, listener, &mut outcome);
        self.settle_streams(outcome);
    }

    pub(super) fn settle_streams(&mut self, outcome: Outcome) {
        for (at, step) in outcome.steps {
            self.agenda.enter(at, Happening::Stream(step));
        }
        for (owner, news) in outcome.news {
            if self.nodes[owner.node].run == owner.run {
                self.give(owner.node, Deferred::News(news));
            }
        }
    }
}
