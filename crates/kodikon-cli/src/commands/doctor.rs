//! `doctor`: what is wrong with this machine's network; fails where a check fails.

use kodikon::api::{FindingRow, Status};

use crate::args::{Common, NodeArgs};
use crate::client::Client;
use crate::outcome::{Done, Failure};
use crate::print::{self, Tone};

pub(crate) fn run(common: &Common, node: &NodeArgs) -> Result<Done, Failure> {
    let document = Client::find(node, common.data_dir.as_deref())?.get("/v1/doctor")?;
    let findings: Vec<FindingRow> = super::understand(&document)?;
    if common.json {
        print::json(&document)?
    } else {
        print::table(&["check", "status", "evidence", "cure"], &rows(&findings))?
    }
    let failed = findings.iter().any(|finding| finding.status == Status::Fail);
    Ok(if failed { Done::Unwell } else { Done::Well })
}

/// What is wrong first.
fn rows(findings: &[FindingRow]) -> Vec<(Tone, Vec<String>)> {
    let rank = |status| match status {
        Status::Fail => (0, Tone::Bad),
        Status::Warn => (1, Tone::Odd),
        Status::Unknown => (2, Tone::Faint),
        Status::Ok | _ => (3, Tone::Plain),
    };
    let mut sorted: Vec<&FindingRow> = findings.iter().collect();
    sorted.sort_by_key(|finding| rank(finding.status).0);
    let row = |finding: &FindingRow| {
        let cells = [&finding.check, finding.status.as_str(), &finding.evidence, &finding.cure];
        (rank(finding.status).1, cells.map(str::to_owned).to_vec())
    };
    sorted.into_iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_shown_first() {
        let finding = |check: &str, status: Status| -> FindingRow {
            let row = serde_json::json!({"check": check, "status": status, "evidence": "", "cure": ""});
            serde_json::from_value(row).expect("its fields")
        };
        let findings = [
            finding("a", Status::Ok),
            finding("b", Status::Unknown),
            finding("c", Status::Fail),
            finding("d", Status::Warn),
        ];
        let order: Vec<String> = rows(&findings).into_iter().map(|(_, cells)| cells[0].clone()).collect();
        assert_eq!(order, ["c", "d", "b", "a"]);
    }
}
