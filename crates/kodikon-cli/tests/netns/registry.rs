//! How sightings come to be the same everywhere: loaded at different places, and on both sides of a mesh that was cut and healed.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kodikon_lab::{Cut, Fleet, Host, Topology};
use serde_json::{Value, json};

use crate::scene::{PATIENCE, SEGMENT, Scene, eventually};

/// The real embeddings: features of photographs of 80 objects, four rows each.
const EMBEDDINGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../kodikon-scan/fixtures/embeddings_320x512_f32.npy");
const ROWS: usize = 320;
const NODES: u16 = 5;
/// After a heal all hold the same by then.
const EQUAL_WITHIN: Duration = Duration::from_secs(7);

#[test]
fn five_nodes_that_import_at_different_places_and_remove_on_both_sides_of_a_cut_print_one_digest() -> Result<()> {
    let Some(scene) = Scene::alone("registry", &Topology::flat(NODES)) else { return Ok(()) };
    let mut fleet = scene.full_fleet()?;
    let names: Vec<String> = (1..=NODES).map(|host| format!("n{host}")).collect();
    // Each takes a part of the rows, which the export of one of them gives by name.
    let whole = scene.directory().join("whole.jsonl");
    let import = ["import", EMBEDDINGS, "--type", "object", "--prefix", "view-", "--model", "mobilenet_v2"];
    fleet.ctl_json("n1", import)?;
    fleet.ctl_json("n1", ["export", &whole.display().to_string()])?;
    for row in 0..ROWS {
        fleet.ctl_json("n1", ["delete".to_owned(), format!("view-{row}")])?;
    }
    expect_equal(&fleet, &names, 0, PATIENCE)?;
    let lines = fs::read_to_string(&whole)?;
    let lines: Vec<&str> = lines.lines().collect();
    for (name, part) in names.iter().zip(lines.chunks(ROWS / usize::from(NODES))) {
        let file = scene.directory().join(format!("{name}.jsonl"));
        fs::write(&file, part.join("\n"))?;
        let report = fleet.ctl_json(name, ["import", &file.display().to_string()])?;
        ensure!(report["imported"] == part.len(), "{name}: {report}");
    }
    let took = expect_equal(&fleet, &names, ROWS, PATIENCE)?;
    eprintln!("{ROWS} sightings of five nodes are everywhere {took:?} after the last import");

    // Nodes 1 and 2 on one side, 3 to 5 on the other; each side adds, and removes what the other has.
    let across = [1, 2].into_iter().flat_map(|one| [3, 4, 5].map(|other| Cut::Between(Host(one), Host(other))));
    scene.cuts(SEGMENT, across)?;
    for (name, removed) in [("n1", 300), ("n4", 10)] {
        for n in 0..20 {
            fleet.ctl_json(name, ["add".to_owned(), format!("{name}-{n}"), "--type".to_owned(), "cut".to_owned()])?;
        }
        for n in 0..10 {
            let row = removed + n;
            let deleted = fleet.ctl_json(name, ["delete".to_owned(), format!("view-{row}"), "--all".to_owned()])?;
            ensure!(deleted["deleted"] == 1, "{name}: view-{row}: {deleted}");
        }
    }
    // Seen on both sides, and removed and seen again on one.
    for name in ["n2", "n5"] {
        fleet.ctl_json(name, ["add", "both"])?;
    }
    fleet.ctl_json("n2", ["delete", "both"])?;
    fleet.ctl_json("n2", ["add", "both"])?;
    scene.heal(SEGMENT)?;
    let took = expect_equal(&fleet, &names, ROWS - 20 + 40 + 2, EQUAL_WITHIN)?;
    eprintln!("equal {took:?} after the heal");
    let both = fleet.ctl_json("n3", ["get", "both"])?;
    let mut by: Vec<&str> = both.as_array().into_iter().flatten().filter_map(|row| row["node_id"].as_str()).collect();
    by.sort_unstable();
    ensure!(by == ["n2", "n5"], "{both}");
    for row in [10, 300] {
        let gone = fleet.ctl("n2", ["get".to_owned(), format!("view-{row}"), "--json".to_owned()])?;
        ensure!(gone.status.code() == Some(1), "view-{row} is back: {}", gone.stdout);
    }
    fleet.kill_all()
}

/// Waits until all nodes hold so many sightings and print one digest; how long that took.
fn expect_equal(fleet: &Fleet<'_>, names: &[String], count: usize, within: Duration) -> Result<Duration> {
    let begun = Instant::now();
    eventually("one digest everywhere", within, || {
        let seen = names.iter().map(|name| digest(fleet, name)).collect::<Result<Vec<_>>>()?;
        let is_one = seen.iter().all(|one| *one == seen[0]);
        ensure!(is_one && seen[0].0 == json!(count), "{count} are expected: {seen:?}");
        Ok(())
    })?;
    Ok(begun.elapsed())
}

/// How many sightings a node holds, and the digest that it prints.
fn digest(fleet: &Fleet<'_>, name: &str) -> Result<(Value, String)> {
    let stats = fleet.ctl_json(name, ["stats"])?;
    let content = stats["registry_content"].as_str().context("no registry_content")?.to_owned();
    Ok((stats["registry"]["records"].clone(), content))
}
