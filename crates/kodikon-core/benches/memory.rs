//! Decides nothing: prints what a peer and an origin of letters cost a node on the heap.
#![expect(clippy::print_stdout, reason = "the figures are what it is for")]

#[path = "../tests/segment/lan.rs"]
#[expect(dead_code, reason = "the tests ask more of it")]
mod lan;

use kodikon_core::ground::id::{Epoch, NodeId};
use kodikon_core::ground::time::Duration;
use kodikon_core::model::windows;
use lan::Lan;
use peak_alloc::PeakAlloc;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// Nodes of two meshes: what the larger ones hold more than the smaller ones is held for peers.
const FEW: u8 = 20;
const MANY: u8 = 60;
/// Virtual time until all know all, greetings are over and each is watched.
const SETTLED: Duration = Duration::from_secs(60);

fn main() {
    let (few, many) = (a_node_of(FEW), a_node_of(MANY));
    println!("  a node with {} peers {:>9} B", FEW - 1, few);
    println!("  a node with {} peers {:>9} B", MANY - 1, many);
    println!("  a peer               {:>9} B", many.saturating_sub(few) / usize::from(MANY - FEW));
    let before = HEAP.current_usage();
    let mut windows = windows::Windows::default();
    for n in 0..windows::MAX_ORIGINS {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&(n as u64).to_le_bytes());
        windows.note(NodeId::of(&key), Epoch(1), 1);
    }
    let an_origin = (HEAP.current_usage() - before) / windows.len();
    println!("  an origin of letters {an_origin:>9} B, of {} at most", windows::MAX_ORIGINS);
}

/// The heap of one node of a mesh of so many, all on one segment.
fn a_node_of(nodes: u8) -> usize {
    let before = HEAP.current_usage();
    let mut lan = Lan::new();
    (1..=nodes).for_each(|n| lan.start(n));
    lan.run(SETTLED);
    assert!(lan.nodes.values().all(|node| node.peers().len() == usize::from(nodes - 1)), "all know all");
    // What the LAN itself remembers is none of the nodes'.
    lan.events = Vec::new();
    (HEAP.current_usage() - before) / usize::from(nodes)
}
