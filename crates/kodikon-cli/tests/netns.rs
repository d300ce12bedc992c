//! The mesh as people run it: `kodikon up` on hosts in network namespaces, through crashes, cables, strangers and full disks.
//!
//! The limits are two to three times what `docs/measurements.md` promises, because two busy cores are enough to run this. What each
//! test measured is printed with `--nocapture`. Without root or tools each test says that it is skipped.

#[path = "netns/alerts.rs"]
mod alerts;
#[path = "netns/broadcasts.rs"]
mod broadcasts;
#[path = "netns/cables.rs"]
mod cables;
#[path = "netns/deaths.rs"]
mod deaths;
#[path = "netns/disks.rs"]
mod disks;
#[path = "netns/fetches.rs"]
mod fetches;
#[path = "netns/flood.rs"]
mod flood;
#[path = "netns/letters.rs"]
mod letters;
#[path = "netns/records.rs"]
mod records;
#[path = "netns/rot.rs"]
mod rot;
#[path = "netns/scene.rs"]
mod scene;
#[path = "netns/starts.rs"]
mod starts;
#[path = "netns/state.rs"]
mod state;
#[path = "netns/strangers.rs"]
mod strangers;
#[path = "netns/ways.rs"]
mod ways;
