//! What this machine tells about itself to the doctor: what the firewall's rules are, and what lies in the data directory.

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::firewall::{self, Rules};
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

/// Reads the firewall's rules: those of the first tool that knows some for what comes in. Takes up to some seconds: not for the loop.
#[must_use]
pub fn firewall_rules() -> Rules {
    first_that_judges(TOOLS.into_iter().map(|(tool, arguments)| (tool, output(tool, arguments, PATIENCE))))
}

/// The rules of the first tool that has some for what comes in, or else of the first that could be asked.
fn first_that_judges(told: impl IntoIterator<Item = (&'static str, Result<String, String>)>) -> Rules {
    let (mut first, mut why) = (None, Vec::new());
    for (tool, text) in told {
        match text {
            Ok(text) if firewall::judges_input(&text) => return Rules::Read { tool, text },
            Ok(text) => first = first.or(Some(Rules::Read { tool, text })),
            Err(reason) => why.push(reason),
        }
    }
    first.unwrap_or_else(|| Rules::Unreadable(why.join("; ")))
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
    fn a_tool_that_shows_no_rules_for_what_comes_in_does_not_hide_those_of_another() {
        let (none, open) = ("", "*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n");
        let shut = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -j DROP\nCOMMIT\n";
        let nat = "table ip nat {\n\tchain POSTROUTING {\n\t\ttype nat hook postrouting priority srcnat; policy accept;\n\t}\n}\n";
        let input = "table ip f {\n\tchain i {\n\t\ttype filter hook input priority 0; policy drop;\n\t}\n}\n";
        let bridge = input.replace("table ip ", "table bridge ");
        let ok = |text: &str| Ok(text.to_owned());
        let no = |reason: &str| Err(reason.to_owned());
        let read = |tool, text: &str| Rules::Read { tool, text: text.to_owned() };
        for (told, expected) in [
            ([ok(input), ok(shut), no("c")], read("nft", input)),
            ([ok(none), ok(shut), no("c")], read("iptables-save", shut)),
            ([ok(nat), ok(open), ok(shut)], read("iptables-legacy-save", shut)),
            ([no("a"), ok(open), no("c")], read("iptables-save", open)),
            ([ok(bridge.as_str()), ok(shut), no("c")], read("iptables-save", shut)),
            ([ok(none), no("b"), no("c")], read("nft", none)),
            ([no("a"), no("b"), no("c")], Rules::Unreadable("a; b; c".into())),
        ] {
            let told: Vec<_> = TOOLS.iter().map(|(tool, _)| *tool).zip(told).collect();
            assert_eq!(first_that_judges(told.clone()), expected, "{told:?}");
        }
    }
}
