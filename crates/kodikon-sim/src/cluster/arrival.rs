//! Decides how a datagram finds its process at the end of its way, and what the kernel says where there is none.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use kodikon_core::effect::{Arrival, Input};
use kodikon_core::ground::id::InterfaceIndex;

use crate::cluster::process::Deferred;
use crate::cluster::{Cluster, Happening, Observer};
use crate::network::host::{FIRST_PORT, HostId};
use crate::network::streams::Owner;
use crate::network::{Frame, Passage, Socket};
use crate::trace::Mark;

impl<O: Observer> Cluster<O> {
    pub(super) fn pass(&mut self, passage: Passage) {
        match passage {
            Passage::Arrive { host, interface, port, bent, frame } => {
                if !self.network.is_listening(host, interface, frame.sender.host) {
                    self.network.counts.blocked += 1;
                    return;
                }
                match port {
                    Some(port) => self.arrive_at_port(host, interface, port, bent, &frame),
                    None => self.arrive_at_group(host, interface, bent, &frame),
                }
            }
            Passage::Spread { segment, frame } => {
                let mut place = 0;
                loop {
                    let mut passages = std::mem::take(&mut self.passages);
                    let fate = self.network.spread(self.now, (segment, place), &frame, &mut passages);
                    self.passages = passages;
                    self.enter_passages();
                    let Some(now) = fate else { return };
                    if let Some((host, interface)) = now {
                        self.arrive_at_group(host, interface, None, &frame);
                    }
                    place += 1;
                }
            }
        }
    }

    fn arrive_at_group(&mut self, host: HostId, interface: InterfaceIndex, bent: Option<u64>, frame: &Rc<Frame>) {
        for node in self.nodes_of(host) {
            self.hear(node, interface, bent, frame);
        }
    }

    fn arrive_at_port(
        &mut self,
        host: HostId,
        interface: InterfaceIndex,
        port: u16,
        bent: Option<u64>,
        frame: &Rc<Frame>,
    ) {
        let node = self.node_at(Socket { host, port });
        if let Some(node) = node.filter(|&node| self.nodes[node].process.is_some()) {
            self.hear(node, interface, bent, frame);
            return;
        }
        let asker = frame.sender;
        let Some(asking) = self.node_at(asker) else { return };
        if self.network.answers_closed_port(self.now, host, asker.host) {
            let owner = Owner { node: asking, run: self.nodes[asking].run };
            let address = SocketAddr::new(self.address_of(host, interface, frame), port);
            let at = self.now + self.network.travel(host, asker.host);
            self.agenda.enter(at, Happening::Unreachable(owner, address));
        }
    }

    fn address_of(&self, host: HostId, interface: InterfaceIndex, frame: &Frame) -> IpAddr {
        let nic = self.network.hosts[host.place()].nic(interface);
        let own = nic.and_then(|nic| match frame.from {
            SocketAddr::V4(_) => nic.v4.map(IpAddr::V4),
            SocketAddr::V6(_) => nic.v6.map(IpAddr::V6),
        });
        own.unwrap_or(frame.from.ip())
    }

    pub(super) fn node_at(&self, socket: Socket) -> Option<usize> {
        let place = socket.port.checked_sub(FIRST_PORT)?;
        let host = self.network.hosts.get(socket.host.place())?;
        (place < host.nodes).then(|| self.first_of_host[socket.host.place()] + usize::from(place))
    }

    /// A datagram reaches a process.
    pub(super) fn hear(&mut self, node: usize, interface: InterfaceIndex, bent: Option<u64>, frame: &Rc<Frame>) {
        let Some(mut process) = self.nodes[node].process.take() else { return };
        if process.paused {
            process.defer(Deferred::Datagram { interface, bent, frame: Rc::clone(frame) });
            self.nodes[node].process = Some(process);
            return;
        }
        self.network.counts.arrived += 1;
        self.trace.mark(
            self.now,
            Mark::Heard,
            node,
            u64::from(frame.sender.host.0) << 16 | u64::from(frame.sender.port),
        );
        self.scratch.clear();
        self.scratch.extend_from_slice(&frame.bytes);
        if let Some(bent) = bent {
            let bit = bent % (8 * self.scratch.len().max(1) as u64);
            if let Some(byte) = self.scratch.get_mut((bit / 8) as usize) {
                *byte ^= 1 << (bit % 8);
            }
        }
        let arrival = Arrival { from: scoped(frame.from, interface), interface, cast: frame.cast };
        let now = process.clock.local(self.now);
        let forbidden = self.forbidden((node, &mut process), bent, frame);
        let before = process.endpoint.stats().datagrams_received;
        process.endpoint.handle(now, Input::Datagram(arrival, &mut self.scratch));
        if let Some(sender) = forbidden {
            let accepted = process.endpoint.stats().datagrams_received > before;
            self.observer.heard(self.now, node, sender, accepted);
        }
        self.carry_out(node, process);
    }
}

/// The receiver's kernel notes the interface in the source address where the address means nothing without it.
fn scoped(from: SocketAddr, interface: InterfaceIndex) -> SocketAddr {
    match from {
        SocketAddr::V6(mut v6) if v6.ip().is_unicast_link_local() => {
            v6.set_scope_id(interface.0);
            SocketAddr::V6(v6)
        }
        SocketAddr::V4(_) | SocketAddr::V6(_) => from,
    }
}
