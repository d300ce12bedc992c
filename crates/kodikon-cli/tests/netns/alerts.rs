//! How alerts reach everyone who is here or comes while they are active, once, across relays and the restart of either end.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kodikon_lab::{ApiAccess, Fleet, Host, Kind, Moment, Seen, Topology};
use serde_json::Value;

use crate::scene::{PATIENCE, Scene, eventually};

/// What comes twice would come within this: the longest pause before an alert is told again is as long.
const TWICE_WITHIN: Duration = Duration::from_secs(6);

/// So soon after the answer a sender is killed.
const WITHIN: Duration = Duration::from_millis(1);

/// The one segment of a line that its first host is on.
const CABLE: &str = "s1";

#[test]
fn a_late_joiner_two_relays_away_sees_the_active_alerts_and_says_so() -> Result<()> {
    let Some(scene) = Scene::alone("latecomer", &Topology::line(4)) else { return Ok(()) };
    let mut fleet = scene.fleet();
    for host in 1..=3 {
        fleet.start(Host(host))?;
    }
    fleet.wait_full_roster(PATIENCE)?;
    let critical = raise(&fleet, "n1", &["alert", "{\"n\": 1}", "--priority", "critical", "--wait", "20"])?;
    let low = raise(&fleet, "n1", &["alert", "{\"n\": 2}", "--priority", "low", "--wait", "20"])?;
    fleet.wait("both alerts at those who are here", PATIENCE, |story| {
        let shown = story.seen().iter().filter(|seen| seen.event.kind == Kind::Alert && seen.by != "n1");
        shown.count() >= 4
    })?;

    fleet.start(Host(4))?;
    fleet.wait("both alerts at the latecomer", PATIENCE * 2, |story| {
        story.seen().iter().filter(|seen| seen.event.kind == Kind::Alert && seen.by == "n4").count() >= 2
    })?;
    fleet.listen(TWICE_WITHIN)?;
    for id in [&critical, &low] {
        for (name, is_late) in [("n2", false), ("n3", false), ("n4", true)] {
            expect_once(&fleet, name, id, is_late)?;
        }
        expect_receipt(&fleet, "n1", id, "n4")?;
    }
    Ok(())
}

#[test]
fn an_alert_whose_sender_was_killed_before_anybody_heard_of_it_reaches_all_after_its_restart() -> Result<()> {
    let Some(scene) = Scene::alone("killed", &Topology::line(3)) else { return Ok(()) };
    let mut fleet = scene.fleet();
    fleet.start_all()?;
    fleet.wait_full_roster(PATIENCE)?;
    // Its cable is dead, so that no datagram of it gets out: the disk alone has the alert.
    scene.cut_segment(CABLE)?;
    let id = raise_and_kill(&scene, &mut fleet, "n1", r#"{"alert": {"door": 3}, "priority": "critical"}"#)?;
    fleet.listen(Duration::from_secs(1))?;
    scene.heal(CABLE)?;
    ensure!(shown(&fleet, "n2", &id).is_empty(), "it got out by a dead cable");

    let back = Moment::now();
    fleet.relaunch("n1")?;
    fleet.wait("the alert at all", PATIENCE * 2, |story| {
        let told = story.since(back).filter(|seen| seen.event.kind == Kind::Alert && seen.by != "n1");
        told.count() >= 2
    })?;
    fleet.listen(TWICE_WITHIN)?;
    for name in ["n2", "n3"] {
        let seen = shown(&fleet, name, &id);
        ensure!(seen.len() == 1 && seen[0].event.fields["source"] == "n1", "{name} was shown {seen:?}");
    }
    Ok(())
}

#[test]
fn an_alert_that_was_told_and_whose_sender_was_killed_at_once_is_shown_once_to_each() -> Result<()> {
    let Some(scene) = Scene::alone("killed2", &Topology::line(3)) else { return Ok(()) };
    let mut fleet = scene.fleet();
    fleet.start_all()?;
    fleet.wait_full_roster(PATIENCE)?;
    let id = raise_and_kill(&scene, &mut fleet, "n1", r#"{"alert": {"door": 4}, "priority": "critical"}"#)?;
    fleet.relaunch("n1")?;
    fleet.wait("the alert at all", PATIENCE * 2, |story| {
        ["n2", "n3"].iter().all(|name| story.seen().iter().any(|seen| seen.by == *name && is_shown(seen, &id)))
    })?;
    fleet.listen(TWICE_WITHIN)?;
    for name in ["n2", "n3"] {
        ensure!(shown(&fleet, name, &id).len() == 1, "{name} was shown {:?}", shown(&fleet, name, &id));
    }
    Ok(())
}

#[test]
fn a_receiver_that_was_killed_is_shown_what_it_missed_and_not_again_what_it_kept() -> Result<()> {
    let Some(scene) = Scene::alone("receiver", &Topology::line(3)) else { return Ok(()) };
    let mut fleet = scene.fleet();
    fleet.start_all()?;
    fleet.wait_full_roster(PATIENCE)?;
    let kept = raise(&fleet, "n1", &["alert", "{\"n\": 1}", "--wait", "20"])?;
    eventually("the receipt for what is on disk", PATIENCE, || {
        let row = alert_row(&fleet, "n1", &kept)?;
        ensure!(names(&row["durable"]).contains(&"n3"), "{row}");
        Ok(())
    })?;
    fleet.kill("n3")?;
    let missed = raise(&fleet, "n1", &["alert", "{\"n\": 2}", "--priority", "high"])?;
    let back = Moment::now();
    fleet.relaunch("n3")?;
    fleet.wait("what it missed", PATIENCE * 2, |story| {
        story.since(back).any(|seen| seen.by == "n3" && is_shown(seen, &missed))
    })?;
    fleet.listen(TWICE_WITHIN)?;
    ensure!(shown(&fleet, "n3", &missed).len() == 1, "{:?}", shown(&fleet, "n3", &missed));
    ensure!(shown(&fleet, "n3", &kept).len() == 1, "it is on its disk: {:?}", shown(&fleet, "n3", &kept));
    // Both are active still, whatever was shown when.
    for id in [&kept, &missed] {
        alert_row(&fleet, "n3", id)?;
        expect_receipt(&fleet, "n1", id, "n3")?;
    }
    Ok(())
}

/// Raises an alert and returns its name.
fn raise(fleet: &Fleet<'_>, at: &str, arguments: &[&str]) -> Result<String> {
    let report = fleet.ctl_json(at, arguments)?;
    let id = report["alert_id"].as_str().with_context(|| format!("an alert without name: {report}"))?;
    Ok(id.to_owned())
}

/// Raises an alert and kills its node within a millisecond of the answer, which no program that has to end first could do; its name.
fn raise_and_kill(scene: &Scene, fleet: &mut Fleet<'_>, at: &str, body: &str) -> Result<String> {
    let ApiAccess { address, head } = ApiAccess::read(fleet.data(at)?)?;
    let mut stream = scene.inside(fleet.host(at)?, || TcpStream::connect(&address))??;
    stream.set_read_timeout(Some(PATIENCE))?;
    let length = body.len();
    let kind = format!("Content-Type: application/json\r\nContent-Length: {length}\r\n");
    write!(stream, "POST /v1/alerts HTTP/1.1\r\n{head}{kind}\r\n{body}")?;
    let mut answer = Vec::new();
    let report = loop {
        let mut read = [0; 4_096];
        let count = stream.read(&mut read)?;
        ensure!(count > 0, "the node said no more than {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&read[..count]);
        let body = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").map(|end| &answer[end + 4..]);
        if let Some(report) = body.and_then(|body| serde_json::from_slice::<Value>(body).ok()) {
            break report;
        }
    };
    let answered = Instant::now();
    let killed = fleet.kill(at)?.read;
    let gap = killed.saturating_duration_since(answered);
    ensure!(gap <= WITHIN, "it was killed {gap:?} after the answer");
    eprintln!("killed {gap:?} after the answer {report}");
    ensure!(report["kept"] == true, "{report}");
    let id = report["alert_id"].as_str().with_context(|| format!("an alert without name: {report}"))?;
    Ok(id.to_owned())
}

fn is_shown(seen: &Seen, id: &str) -> bool {
    seen.event.kind == Kind::Alert && seen.event.fields["alert_id"] == id
}

/// What a node, in all its runs, told of an alert.
fn shown<'s>(fleet: &'s Fleet<'_>, by: &str, id: &str) -> Vec<&'s Seen> {
    fleet.story().seen().iter().filter(|seen| seen.by == by && is_shown(seen, id)).collect()
}

fn expect_once(fleet: &Fleet<'_>, by: &str, id: &str, is_late: bool) -> Result<()> {
    let seen = shown(fleet, by, id);
    ensure!(seen.len() == 1, "{by} was shown {id} so: {seen:?}");
    let fields = &seen[0].event.fields;
    ensure!(fields["late"] == is_late && fields["repeated"] == false, "{by}: {fields:?}");
    Ok(())
}

/// Waits until a node knows that another has shown an alert and has it on disk.
fn expect_receipt(fleet: &Fleet<'_>, at: &str, id: &str, of: &str) -> Result<()> {
    eventually("the receipt", PATIENCE, || {
        let row = alert_row(fleet, at, id)?;
        let is_in = |list: &str| names(&row[list]).contains(&of);
        ensure!(is_in("delivered") && is_in("durable"), "{row}");
        Ok(())
    })
}

/// An active alert as a node lists it.
fn alert_row(fleet: &Fleet<'_>, at: &str, id: &str) -> Result<Value> {
    let alerts = fleet.ctl_json(at, ["alerts"])?;
    let row = alerts.as_array().into_iter().flatten().find(|row| row["alert_id"] == id);
    row.cloned().with_context(|| format!("{at} does not list {id}: {alerts}"))
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}
