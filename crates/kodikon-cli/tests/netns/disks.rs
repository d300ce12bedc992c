//! What a node says whose data directory cannot be used.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kodikon_lab::{Finished, Host, Lab, Topology};

use crate::scene::{BINARY, Scene, eventually, number};

/// A node that refuses to start ends well before that; one that does not is ended.
const LIMIT: Duration = Duration::from_secs(10);
/// The exit code of what could not be done.
const UNDONE: i32 = 1;

#[test]
fn a_full_data_directory_is_a_clear_error_with_its_way_out() -> Result<()> {
    let Some(scene) = Scene::beside("full", &Topology::flat(1)) else { return Ok(()) };
    // Nothing is left for a key of 32 bytes.
    let prepare = "mount -t tmpfs -o size=8k tmpfs \"$1\" && { cat /dev/zero >\"$1/filler\" 2>/dev/null; true; }";
    expect_refusal(&up(&scene, prepare)?, &["no space left", "--data-dir", "--in-memory"])
}

#[test]
fn a_data_directory_that_cannot_be_written_is_a_clear_error_with_its_way_out() -> Result<()> {
    let Some(scene) = Scene::beside("readonly", &Topology::flat(1)) else { return Ok(()) };
    let prepare = "mount -t tmpfs -o ro tmpfs \"$1\"";
    expect_refusal(&up(&scene, prepare)?, &["Read-only file system", "--data-dir", "--in-memory"])
}

#[test]
fn a_file_in_the_place_of_the_data_directory_is_a_clear_error() -> Result<()> {
    let Some(scene) = Scene::beside("file", &Topology::flat(1)) else { return Ok(()) };
    let prepare = "rmdir \"$1\" && echo mine >\"$1\"";
    expect_refusal(&up(&scene, prepare)?, &["cannot write", "--data-dir", "--in-memory"])
}

#[test]
fn in_memory_is_a_way_out() -> Result<()> {
    let Some(scene) = Scene::beside("memory", &Topology::flat(1)) else { return Ok(()) };
    let script = "mount -t tmpfs -o ro tmpfs \"$1\" && exec \"$0\" up --json --in-memory --api none";
    let mut command = shell(&scene, script);
    let mut node = scene.spawn(&mut command)?;
    node.line_where(LIMIT, |line| line.contains("\"started\""))?;
    ensure!(node.terminate(LIMIT)?.success(), "{}", node.complaints());
    Ok(())
}

#[test]
fn a_node_whose_disk_fills_up_goes_on_tells_it_and_saves_once_there_is_room() -> Result<()> {
    let Some(scene) = Scene::beside("fills", &Topology::flat(1)) else { return Ok(()) };
    let up = "exec \"$0\" up --json --node-id n1 --data-dir \"$1\"";
    let mut node = scene.spawn(&mut shell(&scene, &format!("mount -t tmpfs -o size=256k tmpfs \"$1\" && {up}")))?;
    node.line_where(LIMIT, |line| line.contains("\"started\""))?;
    // The mount is the node's own, and this is the way to it.
    let data = PathBuf::from(format!("/proc/{}/root{}", node.pid(), data(&scene).display()));
    let run = |args: &[&str]| {
        let mut command = scene.command(Host(1), BINARY);
        scene.run(command.args(args).args(["--json", "--data-dir"]).arg(&data), LIMIT)
    };
    let verb = |args: &[&str]| run(args)?.success();
    let failures = || number(&serde_json::from_str(&verb(&["stats"])?)?, "/counters/store_failures");
    verb(&["state", "set", "location=gate_a"])?;
    eventually("the state on disk", LIMIT, || holds(&data.join("state.json"), "gate_a"))?;

    let filler = data.join("filler");
    let full = fs::write(&filler, vec![0; 1 << 20]);
    ensure!(full.is_err(), "the disk takes more than it has");
    let refused = run(&["state", "set", "location=gate_b"])?;
    ensure!(refused.status.code() == Some(1), "{}: what is not kept was acknowledged", refused.status);
    ensure!(refused.stderr.contains("the disk has not taken it"), "it was said: {}", refused.stderr);
    eventually("the failure to be counted", LIMIT, || {
        let failures = failures()?;
        ensure!(failures > 0, "{failures} failures");
        Ok(())
    })?;
    let said = node.complaints();
    ensure!(said.contains("no space left"), "it said: {said}");
    holds(&data.join("state.json"), "gate_a")?;

    fs::remove_file(&filler)?;
    eventually("the newest state on disk", LIMIT, || holds(&data.join("state.json"), "gate_b"))?;
    ensure!(node.terminate(LIMIT)?.success(), "{}", node.complaints());
    Ok(())
}

/// Starts a node on a data directory that `prepare` has spoilt; the host's mounts are its own and go with it.
fn up(lab: &Lab, prepare: &str) -> Result<Finished> {
    let script = format!("{prepare} && exec \"$0\" up --json --api none --data-dir \"$1\"");
    lab.run(&mut shell(lab, &script), LIMIT)
}

/// A script that knows the program as `$0` and an empty directory as `$1`.
fn shell(lab: &Lab, script: &str) -> Command {
    let data = data(lab);
    fs::create_dir_all(&data).expect("the lab's directory is ours");
    let mut command = lab.command(Host(1), "sh");
    command.args(["-c", script, BINARY]).arg(data).env("HOME", lab.directory());
    command
}

fn data(lab: &Lab) -> PathBuf {
    lab.directory().join("data")
}

fn holds(file: &Path, text: &str) -> Result<()> {
    let found = fs::read(file).with_context(|| format!("no {}", file.display()))?;
    ensure!(String::from_utf8_lossy(&found).contains(text), "{} does not hold {text}", file.display());
    Ok(())
}

fn expect_refusal(finished: &Finished, words: &[&str]) -> Result<()> {
    let Finished { status, stdout, stderr } = finished;
    eprintln!("{status}: {}", stderr.trim());
    ensure!(status.code() == Some(UNDONE), "{status}: {stderr}");
    ensure!(stdout.is_empty(), "it said that it had started: {stdout}");
    for word in words {
        ensure!(stderr.contains(word), "{word:?} is missing in: {stderr}");
    }
    ensure!(!stderr.contains("panicked"), "{stderr}");
    Ok(())
}
