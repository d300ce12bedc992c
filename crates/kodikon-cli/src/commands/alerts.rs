//! `alert` and `alerts`: raises an alert, shows the active ones, acknowledges one.

use std::time::Duration;

use kodikon::api::{AlertReport, AlertRow, MissingRow};
use serde_json::{Value, json};

use super::Common;
use crate::args::{AlertArgs, NodeArgs};
use crate::client::Client;
use crate::outcome::{Done, Failure};
use crate::print::{self, Tone};

/// Beyond the wait that was asked for the node may take so long: a disk that does not answer costs a second.
const MARGIN: Duration = Duration::from_secs(10);
/// Characters of an alert that a table shows.
const SHOWN: usize = 60;

pub(crate) fn raise(common: &Common, args: &AlertArgs) -> Result<Done, Failure> {
    let options = [
        ("priority", args.priority.clone().map(Value::from)),
        ("ttl_s", args.ttl.map(Value::from)),
        ("wait_s", args.wait.map(Value::from)),
    ];
    let body = super::with_options(json!({"alert": super::send::payload(&args.payload)?}), options);
    let patience = args.wait.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).unwrap_or_default() + MARGIN;
    let client = Client::find(&args.node, common.data_dir.as_deref())?;
    let document = client.post("/v1/alerts", &body, patience)?;
    let report: AlertReport = super::understand(&document)?;
    if common.json {
        print::json(&document)?;
    } else {
        print::line(&words(&report, args.wait.is_some()))?;
    }
    // Who did not wait cannot tell who is missing.
    Ok(if args.wait.is_none() || report.has_reached_all() { Done::Well } else { Done::Unwell })
}

pub(crate) fn list(common: &Common, node: &NodeArgs) -> Result<Done, Failure> {
    let client = Client::find(node, common.data_dir.as_deref())?;
    let document = client.get("/v1/alerts")?;
    if common.json {
        print::json(&document)?;
        return Ok(Done::Well);
    }
    let alerts: Vec<AlertRow> = super::understand(&document)?;
    if alerts.is_empty() {
        eprintln!("no alert is active");
    }
    let rows: Vec<(Tone, Vec<String>)> = alerts.iter().map(row).collect();
    print::table(&["alert", "source", "priority", "says", "delivered", "durable", "missing", "seen by"], &rows)?;
    Ok(Done::Well)
}

pub(crate) fn acknowledge(common: &Common, node: &NodeArgs, id: &str, by: Option<&str>) -> Result<Done, Failure> {
    let user = std::env::var("USER").unwrap_or_default();
    let by = by.unwrap_or(&user);
    if by.trim().is_empty() {
        return Err(Failure::Usage("nobody is named: say who has seen it with --by WHO".to_owned()));
    }
    let client = Client::find(node, common.data_dir.as_deref())?;
    // It stands in a path: what is no name of an alert must not become another path.
    if !id.bytes().all(|byte| byte.is_ascii_hexdigit()) || id.len() != 16 {
        return Err(Failure::Usage(format!("`{id}` is no alert: `kodikon alerts` shows them, 16 hex digits each")));
    }
    let document = client.post(&format!("/v1/alerts/{id}/ack"), &json!({"by": by}), MARGIN)?;
    if common.json {
        print::json(&document)?;
    } else {
        print::line(&format!("{id} acknowledged"))?;
    }
    Ok(Done::Well)
}

fn words(report: &AlertReport, has_waited: bool) -> String {
    let AlertReport { alert_id, delivered, durable, missing, kept, .. } = report;
    let unkept =
        if *kept { "" } else { "; not on this node's disk: it is gone if the node stops before another has it" };
    if !has_waited {
        return format!("{alert_id} is on its way{unkept}");
    }
    if delivered.is_empty() && missing.is_empty() {
        return format!("{alert_id} shown by nobody: no other node is here, or was within a day{unkept}");
    }
    let shown = format!("{alert_id} shown by {}, on disk at {}", delivered.len(), durable.len());
    let missing = if missing.is_empty() { String::new() } else { format!("; missing: {}", names(missing)) };
    format!("{shown}{missing}{unkept}")
}

fn names(missing: &[MissingRow]) -> String {
    let one = |row: &MissingRow| format!("{} ({})", row.node_id, row.reason);
    missing.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn row(alert: &AlertRow) -> (Tone, Vec<String>) {
    let tone = match alert.priority.as_str() {
        "critical" => Tone::Bad,
        "high" => Tone::Odd,
        "low" => Tone::Faint,
        _ => Tone::Plain,
    };
    let says = alert.alert.to_string();
    let short: String = says.chars().take(SHOWN).collect();
    let seen: Vec<&str> = alert.acknowledged.iter().map(|ack| ack.by.as_str()).collect();
    let cells = vec![
        alert.alert_id.clone(),
        alert.source.clone(),
        alert.priority.clone(),
        if short.len() < says.len() { format!("{short}…") } else { short },
        alert.delivered.len().to_string(),
        alert.durable.len().to_string(),
        names(&alert.missing),
        seen.join(", "),
    ];
    (tone, cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_missing_is_named_with_the_reason() {
        let report = report(true, &["b", "c"], &["b"], &[("d", "failed")]);
        assert_eq!(words(&report, true), "00000000000000ff shown by 2, on disk at 1; missing: d (failed)");
        assert_eq!(words(&report, false), "00000000000000ff is on its way");
    }

    #[test]
    fn what_nobody_saw_and_what_is_not_on_disk_read_like_no_success() {
        for (report, expected) in [
            (report(true, &[], &[], &[]), "shown by nobody: no other node is here, or was within a day"),
            (report(true, &[], &[], &[("b", "expired")]), "shown by 0, on disk at 0; missing: b (expired)"),
            (
                report(false, &["b"], &["b"], &[]),
                "shown by 1, on disk at 1; not on this node's disk: it is gone if the node stops before another has it",
            ),
        ] {
            assert_eq!(words(&report, true), format!("00000000000000ff {expected}"));
        }
        let told = words(&report(false, &[], &[], &[]), false);
        assert!(told.starts_with("00000000000000ff is on its way; not on this node's disk"), "{told}");
    }

    fn report(kept: bool, delivered: &[&str], durable: &[&str], missing: &[(&str, &str)]) -> AlertReport {
        let missing: Vec<Value> =
            missing.iter().map(|(name, reason)| json!({"node_id": name, "reason": reason})).collect();
        let report = json!({
            "alert_id": "00000000000000ff", "priority": "high", "delivered": delivered, "durable": durable,
            "missing": missing, "kept": kept,
        });
        serde_json::from_value(report).expect("its fields")
    }
}
