//! What this machine tells about itself to the doctor: what the firewall's rules are, and what lies in the data directory.

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::firewall::{Rules, Shown};
use crate::store::DAMAGED_FILE;

/// A firewall's rules are a few pages; what is longer is cut.
const MAX_RULES: u64 = 1 << 20;
/// A tool that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(2);

/// The tools that tell rules. The kernel keeps those of the older tools where `nft` does not see them, and `iptables-save` may be the
/// one that shows `nft`'s.
const TOOLS: [(&str, &[&str]); 3] =
    [("nft", &["list", "ruleset"]), ("iptables-save", &[]), ("iptables-legacy-save", &[])];

/// The damaged logs that were put aside in a data directory. It looks at the disk: not for the loop.
#[must_use]
pub fn damaged_logs(directory: &Path) -> Vec<String> {
    // What cannot be looked at says nothing; that it cannot be written to is said elsewhere.
    let entries = std::fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let is_one = |name: &String| name.starts_with(DAMAGED_FILE) && !name.ends_with("-wal");
    let mut found: Vec<String> = names.filter(is_one).map(|name| directory.join(name).display().to_string()).collect();
    found.sort();
    found
}

/// Reads the firewall's rules, by all tools that tell some. Takes up to some seconds: not for the loop.
#[must_use]
pub fn firewall_rules() -> Rules {
    all_told(TOOLS.into_iter().map(|(tool, arguments)| (tool, output(tool, arguments, PATIENCE))))
}

/// The rules of all tools that could be asked: none hides those of another, since the kernel asks them all.
fn all_told(told: impl IntoIterator<Item = (&'static str, Result<String, String>)>) -> Rules {
    let (mut shown, mut why) = (Vec::new(), Vec::new());
    for (tool, text) in told {
        match text {
            Ok(text) => shown.push(Shown { tool, text }),
            Err(reason) => why.push(reason),
        }
    }
    if shown.is_empty() { Rules::Unreadable(why.join("; ")) } else { Rules::Read(shown) }
}

/// Runs a tool and reads what it prints, but no longer than patience and no more than a limit.
fn output(tool: &str, arguments: &[&str], patience: Duration) -> Result<String, String> {
    let mut command = Command::new(tool);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| {
        let absent = error.kind() == std::io::ErrorKind::NotFound;
        if absent { format!("{tool} is not installed") } else { format!("{tool}: {error}") }
    })?;
    let out = child.stdout.take();
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        out.map(|out| out.take(MAX_RULES).read_to_end(&mut text));
        String::from_utf8_lossy(&text).into_owned()
    });
    let deadline = Instant::now() + patience;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Ok(status),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(10)),
            Ok(None) => break Err(format!("{tool} does not end")),
            Err(error) => break Err(format!("{tool}: {error}")),
        }
    };
    // Ends the reader, too: without a writer its pipe is at its end. A tool that has ended cannot be ended again.
    let _ = child.kill();
    let _ = child.wait();
    let text = reader.join().unwrap_or_default();
    match status? {
        status if status.success() => Ok(text),
        _ => Err(format!("{tool} needs more rights (try sudo kodikon doctor)")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_logs_are_found_by_their_names_and_without_what_belongs_to_them() {
        let home = std::env::temp_dir().join(format!("kodikon-damaged-{}", std::process::id()));
        assert_eq!(damaged_logs(&home), Vec::<String>::new(), "it is not there");
        std::fs::create_dir_all(&home).expect("writable");
        for name in ["log.db", "log.db-wal", "log.db.damaged", "log.db.damaged-wal", "log.db.damaged-2"] {
            std::fs::write(home.join(name), "").expect("writable");
        }
        let expected = ["log.db.damaged", "log.db.damaged-2"].map(|name| home.join(name).display().to_string());
        assert_eq!(damaged_logs(&home), expected);
        std::fs::remove_dir_all(&home).expect("it is there");
    }

    #[test]
    fn a_tool_that_is_not_there_or_fails_or_hangs_is_no_answer() {
        assert_eq!(output("kodikon-absent-tool", &[], PATIENCE), Err("kodikon-absent-tool is not installed".into()));
        assert_eq!(output("false", &[], PATIENCE), Err("false needs more rights (try sudo kodikon doctor)".into()));
        assert_eq!(output("sleep", &["30"], Duration::ZERO), Err("sleep does not end".into()));
        assert_eq!(output("echo", &["rules"], PATIENCE), Ok("rules\n".into()));
    }

    #[test]
    fn the_rules_of_each_tool_that_could_be_asked_are_told() {
        let ok = |text: &str| Ok(text.to_owned());
        let no = |reason: &str| Err(reason.to_owned());
        let read = |shown: &[(&'static str, &str)]| {
            Rules::Read(shown.iter().map(|(tool, text)| Shown { tool, text: (*text).to_owned() }).collect())
        };
        for (told, expected) in [
            ([ok("1"), ok("2"), ok("3")], read(&[("nft", "1"), ("iptables-save", "2"), ("iptables-legacy-save", "3")])),
            ([ok("1"), no("b"), ok("")], read(&[("nft", "1"), ("iptables-legacy-save", "")])),
            ([no("a"), ok("2"), no("c")], read(&[("iptables-save", "2")])),
            ([no("a"), no("b"), no("c")], Rules::Unreadable("a; b; c".into())),
        ] {
            let told: Vec<_> = TOOLS.iter().map(|(tool, _)| *tool).zip(told).collect();
            assert_eq!(all_told(told.clone()), expected, "{told:?}");
        }
    }
}
