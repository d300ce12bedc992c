//! Decides what a change of the network interfaces means to a running node.

use std::net::SocketAddr;

use kodikon_core::effect::{Input, Interface};
use kodikon_core::ground::time::Instant;

use crate::driver::Driver;
use crate::interfaces::{Admission, choose};

impl Driver {
    pub(super) fn follow_interfaces(&mut self, now: Instant, interfaces: Vec<Interface>) {
        let choice = choose(&interfaces, &self.only);
        let find = |index| interfaces.iter().find(|interface| interface.index == index).cloned();
        let usable: Vec<Interface> = choice.usable.iter().filter_map(|&index| find(index)).collect();
        let present: Vec<_> = interfaces.iter().map(|interface| interface.index).collect();
        tell_interfaces(&usable, choice.alone);
        self.tell_absent(&interfaces);
        self.names.hurry(now);
        self.discovery.follow(&choice.usable, &present);
        self.udp.follow(&usable);
        self.admission = Admission::new(&self.only, &interfaces, &usable);
        self.streams.admit(self.admission.clone());
        self.addresses = choice.announced.iter().map(|&ip| SocketAddr::new(ip, self.facts.port)).collect();
        self.evidence.note_interfaces(interfaces, choice);
        self.node.handle(now, Input::Interfaces(&usable));
        self.carry_out();
    }

    /// Warns of interfaces that were asked for and are not there, once for each change.
    fn tell_absent(&mut self, interfaces: &[Interface]) {
        let absent = absent(&self.only, interfaces);
        if absent != self.absent && !absent.is_empty() {
            let present: Vec<&str> = interfaces.iter().map(|interface| interface.name.as_str()).collect();
            tracing::warn!(?absent, ?present, "no such interface here: correct --interface (mesh.interfaces)");
        }
        self.absent = absent;
    }
}

/// Tells an operator where the node can be met, and in words where that is nowhere else.
fn tell_interfaces(usable: &[Interface], alone: bool) {
    let names: Vec<&str> = usable.iter().map(|interface| interface.name.as_str()).collect();
    if names.is_empty() {
        tracing::warn!("no usable interface: nobody can be met; the node joins as soon as one comes up");
    } else if alone {
        tracing::warn!(usable = ?names, "only nodes of this machine can be met");
    } else {
        tracing::info!(usable = ?names, "interfaces");
    }
}

/// The interfaces that were asked for and are not there.
fn absent(only: &[String], interfaces: &[Interface]) -> Vec<String> {
    only.iter().filter(|name| interfaces.iter().all(|interface| interface.name != **name)).cloned().collect()
}
