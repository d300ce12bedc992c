//! What this machine tells about itself to the doctor: what the firewall's rules are.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::firewall::Rules;

/// A firewall's rules are a few pages; what is longer is cut.
const MAX_RULES: u64 = 1 << 20;
/// A tool that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(2);
/// Reads the firewall's rules with `nft`, or else with `iptables-save`. Takes up to some seconds: not for the loop.
#[must_use]
pub fn firewall_rules() -> Rules {
    let mut why = Vec::new();
    for (tool, arguments) in [("nft", &["list", "ruleset"][..]), ("iptables-save", &[][..])] {
        match output(tool, arguments, PATIENCE) {
            Ok(text) => return Rules::Read { tool, text },
            Err(reason) => why.push(reason),
        }
    }
    Rules::Unreadable(why.join("; "))
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
    fn a_tool_that_is_not_there_or_fails_or_hangs_is_no_answer() {
        assert_eq!(output("kodikon-absent-tool", &[], PATIENCE), Err("kodikon-absent-tool is not installed".into()));
        assert_eq!(output("false", &[], PATIENCE), Err("false needs more rights (try sudo kodikon doctor)".into()));
        assert_eq!(output("sleep", &["30"], Duration::ZERO), Err("sleep does not end".into()));
        assert_eq!(output("echo", &["rules"], PATIENCE), Ok("rules\n".into()));
    }
}
