//! Decides how namespaces are entered, configured and removed, with as few processes as possible.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

const HOME: &str = "/run/netns";
/// A process that SIGKILL does not end within this time hangs in the kernel.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// Runs `work` in a thread of its own inside a namespace. What it opens (sockets, processes) stays there.
pub(crate) fn inside<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> Result<T> {
    let path = path(namespace);
    let file = File::open(&path).with_context(|| format!("no namespace {}", path.display()))?;
    thread::scope(|scope| {
        let thread = scope.spawn(|| -> Result<T> {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                .with_context(|| format!("cannot enter {namespace}"))?;
            Ok(work())
        });
        thread.join().map_err(|_| anyhow!("the work inside {namespace} panicked"))?
    })
}

/// Hands commands to one `ip -batch`, inside a namespace if one is given.
pub(crate) fn ip(namespace: Option<&str>, commands: &str) -> Result<()> {
    let mut command = Command::new("ip");
    if let Some(namespace) = namespace {
        command.args(["-n", namespace]);
    }
    feed(command.args(["-batch", "-"]), commands)
}

/// Hands a ruleset to `nft` inside a namespace, as one transaction.
pub(crate) fn nft(namespace: &str, rules: &str) -> Result<()> {
    inside(namespace, || feed(Command::new("nft").args(["-f", "-"]), rules))?
}

/// Runs a command to its end and returns what it printed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let done = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))?;
    if !done.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&done.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// Sets kernel knobs of a namespace, each a path below /proc/sys/net and a value.
pub(crate) fn sysctl(namespace: &str, knobs: &[(&str, &str)]) -> Result<()> {
    inside(namespace, || {
        for (knob, value) in knobs {
            let path = Path::new("/proc/sys/net").join(knob);
            fs::write(&path, value).with_context(|| format!("cannot write {value} to {}", path.display()))?;
        }
        Ok(())
    })?
}

/// Ends all processes in the namespaces whose names begin with `name-`, then removes the namespaces.
pub(crate) fn remove_all(name: &str) -> Result<()> {
    let names = list(&format!("{name}-"));
    if names.is_empty() {
        return Ok(());
    }
    let inodes: BTreeSet<u64> = names.iter().filter_map(|name| Some(fs::metadata(path(name)).ok()?.ino())).collect();
    let deadline = Instant::now() + KILL_LIMIT;
    loop {
        let pids = processes_in(&inodes);
        if pids.is_empty() {
            break;
        }
        if Instant::now() > deadline {
            bail!("processes {pids:?} in {name} survive SIGKILL");
        }
        for pid in pids {
            // One that ended by itself in between is as good.
            let _ = kill_process(pid, Signal::KILL);
        }
        thread::sleep(Duration::from_millis(2));
    }
    let commands: String = names.iter().map(|name| format!("netns del {name}\n")).collect();
    ip(None, &commands)
}

/// The namespaces whose names begin so.
pub(crate) fn list(prefix: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(HOME) else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| name.starts_with(prefix)).collect()
}

fn path(namespace: &str) -> PathBuf {
    Path::new(HOME).join(namespace)
}

/// One pass over /proc, where `ip netns pids` would need one a namespace.
fn processes_in(inodes: &BTreeSet<u64>) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw) else {
            continue;
        };
        // A zombie has no namespace any more, so one that only waits to be reaped does not count.
        if fs::metadata(entry.path().join("ns/net")).is_ok_and(|meta| inodes.contains(&meta.ino())) {
            found.push(pid);
        }
    }
    found
}

fn feed(command: &mut Command, input: &str) -> Result<()> {
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
    let mut stdin = child.stdin.take().expect("stdin was asked for");
    // A command that gives up early closes its end; what it says on stderr is the better error.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let done = child.wait_with_output().with_context(|| format!("lost {command:?}"))?;
    if !done.status.success() {
        bail!("{command:?}: {} (its input: {})", String::from_utf8_lossy(&done.stderr).trim(), shorten(input));
    }
    Ok(())
}

fn shorten(text: &str) -> String {
    const LIMIT: usize = 500;
    let flat = text.trim().replace('\n', "; ");
    match flat.char_indices().nth(LIMIT) {
        Some((end, _)) => format!("{}…", &flat[..end]),
        None => flat,
    }
}
