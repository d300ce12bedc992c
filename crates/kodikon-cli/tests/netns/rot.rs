//! What becomes of a data directory of which bits turned, that was copied, or set back: the others make it whole, and nobody is misled.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use kodikon_lab::{Fleet, Host, Kind, NodeSpec, Topology};
use rusqlite::{Connection, params};
use serde_json::Value;

use crate::records::rows_in;
use crate::scene::{EMBEDDINGS, PATIENCE, Scene, SmallDisk, await_log, await_one_registry, eventually, number};

/// Rows of the real embeddings.
const ROWS: usize = 320;
const THREE: [&str; 3] = ["n1", "n2", "n3"];
/// Where a damaged log is kept.
const DAMAGED: &str = "log.db.damaged";

#[test]
fn rows_of_which_bits_turned_are_named_and_come_back_from_the_others() -> Result<()> {
    let Some(scene) = Scene::beside("rot", &Topology::flat(3)) else { return Ok(()) };
    let mut fleet = filled(&scene)?;
    await_on_disk(&scene, &fleet, "n2")?;
    fleet.kill("n2")?;
    let log = fleet.data("n2")?.join("log.db");
    turn_bits(&log)?;
    fleet.relaunch("n2")?;
    fleet.wait_started(PATIENCE)?;
    await_equal(&fleet, &THREE, ROWS)?;
    eventually("all spoilt rows to be found", PATIENCE, || {
        let stats = fleet.ctl_json("n2", ["stats"])?;
        ensure!(number(&stats, "/counters/log_rotten")? == 5, "{}", stats["counters"]);
        Ok(())
    })?;
    await_equal(&fleet, &THREE, ROWS)?;
    ensure!(!log.with_file_name(DAMAGED).exists(), "the rest of the log is whole");
    // Its disk is whole again when it has been written.
    await_on_disk(&scene, &fleet, "n2")?;
    fleet.kill("n2")?;
    fleet.relaunch("n2")?;
    fleet.wait_started(PATIENCE)?;
    await_equal(&fleet, &THREE, ROWS)?;
    let stats = fleet.ctl_json("n2", ["stats"])?;
    ensure!(number(&stats, "/counters/log_rotten")? == 0, "{}", stats["counters"]);
    Ok(())
}

#[test]
fn a_damaged_log_is_put_aside_and_filled_again_by_the_others() -> Result<()> {
    let Some(scene) = Scene::beside("damaged", &Topology::flat(3)) else { return Ok(()) };
    let mut fleet = filled(&scene)?;
    // It ends in order, so that all is in the one file.
    fleet.terminate("n3", PATIENCE)?;
    let log = fleet.data("n3")?.join("log.db");
    let file = fs::OpenOptions::new().write(true).open(&log)?;
    file.write_all_at(&[0xa5; 16_384], 4_096)?;
    fleet.relaunch("n3")?;
    fleet.wait_started(PATIENCE)?;
    await_equal(&fleet, &THREE, ROWS)?;
    ensure!(log.with_file_name(DAMAGED).exists(), "what was seen here alone may be in it");
    Ok(())
}

#[test]
fn a_directory_that_was_set_back_brings_nothing_back_and_a_copied_one_is_another_node() -> Result<()> {
    let Some(scene) = Scene::alone("copies", &Topology::flat(4)) else { return Ok(()) };
    let mut fleet = scene.fleet();
    (1..=3).try_for_each(|host| fleet.start(Host(host)))?;
    fleet.wait_full_roster(PATIENCE)?;
    fill(&fleet)?;
    await_equal(&fleet, &THREE, ROWS)?;
    fleet.kill("n2")?;
    let old = copied(&scene, &fleet, "n2")?;
    fleet.relaunch("n2")?;
    fleet.wait_started(PATIENCE)?;
    fleet.ctl_json("n2", ["add", "after-the-copy"])?;
    for row in 0..20 {
        fleet.ctl_json("n1", ["delete", &format!("object-{row}")])?;
    }
    await_equal(&fleet, &THREE, ROWS - 20 + 1)?;

    fleet.kill("n2")?;
    let data = fleet.data("n2")?.to_owned();
    fs::remove_dir_all(&data)?;
    copy(&old, &data)?;
    fleet.relaunch("n2")?;
    fleet.wait_started(PATIENCE)?;
    await_equal(&fleet, &THREE, ROWS - 20 + 1)?;
    fleet.ctl_json("n2", ["add", "after-the-return"])?;
    await_equal(&fleet, &THREE, ROWS - 20 + 2)?;

    // A second node with that directory, while the first runs.
    let twin = scene.directory().join("twin");
    copy(&old, &twin)?;
    fleet.launch(NodeSpec::on(Host(4)).data(&twin))?;
    fleet.wait_started(PATIENCE)?;
    eventually("four identities", PATIENCE, || {
        let ids = ["n1", "n2", "n3", "n4"].map(|name| identity(&fleet, name));
        let ids = ids.into_iter().collect::<Result<BTreeSet<String>>>()?;
        ensure!(ids.len() == 4, "{ids:?}");
        Ok(())
    })?;
    await_equal(&fleet, &["n1", "n2", "n3", "n4"], ROWS - 20 + 2)
}

#[test]
fn an_alert_of_a_node_whose_disk_is_full_reaches_all_and_says_so() -> Result<()> {
    let Some(scene) = Scene::alone("fullalert", &Topology::flat(3)) else { return Ok(()) };
    let disk = SmallDisk::mount(scene.directory().join("small"))?;
    let mut fleet = scene.fleet();
    for host in scene.hosts() {
        let spec = NodeSpec::on(host);
        fleet.launch(if host == Host(1) { spec.data(&disk.0) } else { spec })?;
    }
    fleet.wait_full_roster(PATIENCE)?;
    disk.fill()?;
    let raised = fleet.ctl_json("n1", ["alert", "{\"door\": 3}", "--priority", "critical", "--wait", "20"])?;
    ensure!(raised["kept"] == false, "{raised}");
    ensure!(raised["delivered"].as_array().map(Vec::len) == Some(2), "{raised}");
    fleet.wait("the alert at both", PATIENCE, |story| {
        let shown =
            |name: &str| story.seen().iter().filter(|seen| seen.event.kind == Kind::Alert && seen.by == name).count();
        ["n2", "n3"].iter().all(|name| shown(name) == 1)
    })?;
    await_log(&fleet, "n1", "fail")?;
    disk.free()?;
    await_log(&fleet, "n1", "ok")
}

/// Three nodes that hold all rows.
fn filled(scene: &Scene) -> Result<Fleet<'_>> {
    let fleet = scene.full_fleet()?;
    fill(&fleet)?;
    await_equal(&fleet, &THREE, ROWS)?;
    Ok(fleet)
}

fn fill(fleet: &Fleet<'_>) -> Result<()> {
    let import = ["import", EMBEDDINGS, "--type", "object", "--prefix", "object-", "--model", "mobilenet_v2"];
    let report = fleet.ctl_json("n1", import)?;
    ensure!(report["imported"] == ROWS, "{report}");
    Ok(())
}

/// Waits until these nodes hold so many sightings, and the same.
fn await_equal(fleet: &Fleet<'_>, names: &[&str], records: usize) -> Result<()> {
    await_one_registry(fleet, names, records, PATIENCE)
}

/// Waits until all sightings are on a node's disk: those of others are within a second or two.
fn await_on_disk(scene: &Scene, fleet: &Fleet<'_>, name: &str) -> Result<()> {
    eventually("the disk to have them", PATIENCE, || {
        let rows = rows_in(fleet.data(name)?, &scene.directory().join("copy"))?;
        ensure!(rows == ROWS, "{rows} rows");
        Ok(())
    })
}

/// Three rows lose a bit of what they say, one a bit of its signature, and one its age.
fn turn_bits(log: &Path) -> Result<()> {
    let log = Connection::open(log)?;
    let row = |n: i64| -> Result<(i64, Vec<u8>)> {
        Ok(log.query_row("SELECT rowid, op FROM ops ORDER BY seq LIMIT 1 OFFSET ?1", [n], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?)
    };
    for (n, from_the_end) in [(7, 300), (70, 500), (170, 800), (300, 5)] {
        let (id, mut op) = row(n)?;
        let at = op.len() - from_the_end;
        op[at] ^= 0x10;
        log.execute("UPDATE ops SET op = ?1 WHERE rowid = ?2", params![op, id])?;
    }
    let (id, _) = row(20)?;
    log.execute("UPDATE ops SET born_ms = born_ms - 4096 WHERE rowid = ?1", [id])?;
    Ok(())
}

/// A copy of a node's data directory as it is now.
fn copied(scene: &Scene, fleet: &Fleet<'_>, name: &str) -> Result<std::path::PathBuf> {
    let to = scene.directory().join(format!("copy-of-{name}"));
    let _ = fs::remove_dir_all(&to);
    copy(fleet.data(name)?, &to)?;
    Ok(to)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

fn identity(fleet: &Fleet<'_>, name: &str) -> Result<String> {
    let stats: Value = fleet.ctl_json(name, ["stats"])?;
    Ok(stats["id"].as_str().context("an identity")?.to_owned())
}
