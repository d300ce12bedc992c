//! The running node as the HTTP API sees it.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use kodikon::api::{
    AddedOrNot, AddedRow, AlertDoc, AlertReport, AlertRow, BroadcastDoc, BroadcastRow, DeletedRow, FindingRow,
    MessageDoc, OutcomeRow, PeerDetail, PeerRow, RecordDoc, RecordRow, RouteRow, SearchDoc, SearchReport, StateDoc,
    StatsDoc,
};
use kodikon::doctor::{self, Symptoms};
use kodikon::{
    AlertError, Broadcast, Filter, Found, Letter, Mesh, MeshError, Peer, Priority, Query, Record, RecordError, Route,
    SearchError, SendError, TIMEOUT_LEAST, TIMEOUT_MOST, TTL_LEAST, TTL_MOST,
};
use serde_json::{Map, Value};

use crate::http::{NodeView, ViewError};

/// How long a loop is waited for that may be stuck: a busy one answers in milliseconds.
const REFRESH_WITHIN: Duration = Duration::from_millis(250);
/// How long a caller may wait for receipts.
pub(crate) const WAIT_MOST: Duration = Duration::from_secs(3_600);

impl NodeView for Mesh {
    async fn peers(&self, all: bool) -> Result<Vec<PeerRow>, ViewError> {
        refresh(self).await;
        let peers = if all { self.peers_ever().await.map_err(refusal)? } else { Self::peers(self) };
        Ok(peers.iter().map(Peer::row).collect())
    }

    async fn peer(&self, name: &str) -> Result<Option<PeerDetail>, ViewError> {
        refresh(self).await;
        Ok(Self::peer(self, name).map(|peer| peer.detail()))
    }

    async fn routes(&self) -> Result<Vec<RouteRow>, ViewError> {
        refresh(self).await;
        Ok(Self::routes(self).iter().map(Route::row).collect())
    }

    async fn states(&self) -> Result<StateDoc, ViewError> {
        Ok(Self::states(self))
    }

    async fn state(&self, name: &str) -> Result<Option<StateDoc>, ViewError> {
        let Some(row) = Self::state(self, name) else { return Ok(None) };
        let shown = match Self::peer(self, name) {
            Some(peer) => peer.name().to_owned(),
            None => self.name(),
        };
        Ok(Some(StateDoc::from([(shown, row)])))
    }

    async fn change_state(&self, changes: Map<String, Value>) -> Result<StateDoc, ViewError> {
        self.patch_state(changes).map_err(refusal)?;
        let row = self.state_kept().await.map_err(refusal)?;
        Ok(StateDoc::from([(self.name(), row)]))
    }

    fn check(&self, message: &MessageDoc) -> Result<(), ViewError> {
        letter(self, message.clone())?.check().map_err(unsent)
    }

    async fn send(&self, message: MessageDoc, n: Option<u32>) -> Result<OutcomeRow, ViewError> {
        letter(self, message)?.await.map(|outcome| outcome.row(n)).map_err(unsent)
    }

    fn nearest(&self, name: &str) -> Option<String> {
        self.nearest_name(name)
    }

    fn check_broadcast(&self, message: &BroadcastDoc) -> Result<(), ViewError> {
        announcement(self, message.clone())?.check().map_err(unsent)
    }

    async fn broadcast(&self, message: BroadcastDoc, n: Option<u32>) -> Result<BroadcastRow, ViewError> {
        Ok(announcement(self, message)?.await.map_err(unsent)?.row(n))
    }

    async fn alert(&self, doc: AlertDoc) -> Result<AlertReport, ViewError> {
        let mut alert = Self::alert(self, doc.alert).priority(priority_of(doc.priority)?);
        if let Some(ttl) = doc.ttl_s {
            alert = alert.ttl(span("ttl_s", ttl, TTL_LEAST..=TTL_MOST)?);
        }
        let wait = doc.wait_s.map(|wait| span("wait_s", wait, Duration::ZERO..=WAIT_MOST));
        let wait = wait.transpose()?.unwrap_or_default();
        let mut handle = alert.send().await.map_err(alert_refusal)?;
        if wait.is_zero() { handle.report().await.map_err(refusal) } else { handle.wait(wait).await.map_err(refusal) }
    }

    async fn alerts(&self) -> Result<Vec<AlertRow>, ViewError> {
        Self::alerts(self).await.map_err(refusal)
    }

    async fn acknowledge(&self, id: &str, by: &str) -> Result<(), ViewError> {
        self.alerts_ack(id, by).await.map_err(alert_refusal)
    }

    async fn add(&self, record: RecordDoc, unless_held: bool) -> Result<AddedRow, ViewError> {
        add_one(self, Ok(record), unless_held).await.map_err(record_refusal)
    }

    async fn add_all(
        &self,
        records: Vec<Result<RecordDoc, String>>,
        unless_held: bool,
    ) -> Result<Vec<AddedOrNot>, ViewError> {
        // All are on their way before the first is answered: one sync of the disk is for all of them.
        let mut under_way: VecDeque<_> = records
            .into_iter()
            .map(|record| {
                let mesh = self.clone();
                tokio::spawn(async move { add_one(&mesh, record, unless_held).await })
            })
            .collect();
        let mut rows = Vec::with_capacity(under_way.len());
        while let Some(one) = under_way.pop_front() {
            rows.push(match one.await {
                Ok(Ok(row)) => AddedOrNot::Added(row),
                Ok(Err(RecordError::Stopped)) | Err(_) => return Err(ViewError::Stopped),
                Ok(Err(error)) => {
                    let again = matches!(error, RecordError::Refused { .. } | RecordError::NotKept);
                    AddedOrNot::Not { error: error.to_string(), again }
                }
            });
        }
        Ok(rows)
    }

    async fn get(&self, hash: &str, with_embedding: bool) -> Result<Vec<RecordRow>, ViewError> {
        let rows = if with_embedding { self.get_with_embedding(hash).await } else { Self::get(self, hash).await };
        rows.map_err(record_refusal)
    }

    async fn find(&self, filter: Filter) -> Result<Found, ViewError> {
        Self::find(self, filter).await.map_err(record_refusal)
    }

    async fn delete(&self, hash: &str, all: bool) -> Result<DeletedRow, ViewError> {
        let deleted = Self::delete(self, hash, all).await;
        if matches!(deleted, Err(RecordError::Unknown { .. })) {
            let others =
                Self::find(self, Filter::new().hash(hash).local(true).limit(1)).await.map_err(record_refusal)?;
            return Err(ViewError::Unknown(none_deleted(hash, !others.records.is_empty())));
        }
        deleted.map_err(record_refusal)
    }

    async fn search(&self, doc: SearchDoc) -> Result<SearchReport, ViewError> {
        let query = Query::try_from(doc).map_err(search_refusal)?;
        Self::search(self, query).await.map_err(search_refusal)?.summary().await.map_err(search_refusal)
    }

    fn is_own_name(&self, name: &str) -> bool {
        Self::peer(self, name).is_none() && Self::state(self, name).is_some()
    }

    async fn stats(&self) -> Result<StatsDoc, ViewError> {
        refresh(self).await;
        Ok(Self::stats(self))
    }

    async fn doctor(&self) -> Result<Vec<FindingRow>, ViewError> {
        let mut symptoms = self.symptoms().await.map_err(refusal)?;
        let directory = self.data_dir().map(Path::to_owned);
        // It waits for a program and for the disk. A panic there leaves the rules unread.
        let look = move || {
            let damaged = directory.map(|directory| doctor::host::damaged_logs(&directory)).unwrap_or_default();
            (doctor::host::firewall_rules(), damaged)
        };
        let (firewall, damaged) = tokio::task::spawn_blocking(look).await.ok().unzip();
        if let Some(log) = &mut symptoms.log {
            log.damaged = damaged.unwrap_or_default();
        }
        Ok(doctor::examine(&Symptoms { firewall, ..symptoms }))
    }

    fn is_turning(&self) -> bool {
        Self::is_turning(self)
    }

    fn is_ready(&self) -> bool {
        self.is_running()
    }
}

/// Has a node show what a person asks for as it is now. One that has stopped, or whose loop is stuck, shows what was last: it is then
/// that its counts are looked at.
pub(crate) async fn refresh(mesh: &Mesh) {
    let _ = tokio::time::timeout(REFRESH_WITHIN, mesh.refresh()).await;
}

/// The letter that a caller's words ask for.
fn letter(mesh: &Mesh, message: MessageDoc) -> Result<Letter, ViewError> {
    let mut letter = mesh.send(message.to, message.payload).priority(priority_of(message.priority)?);
    if let Some(seconds) = message.timeout_s {
        letter = letter.timeout(span("timeout_s", seconds, TIMEOUT_LEAST..=TIMEOUT_MOST)?);
    }
    Ok(match kind_of(message.kind)? {
        Some(kind) => letter.kind(kind),
        None => letter,
    })
}

/// What a caller's words say to all.
fn announcement(mesh: &Mesh, message: BroadcastDoc) -> Result<Broadcast, ViewError> {
    let broadcast = mesh.broadcast(message.payload).priority(priority_of(message.priority)?);
    Ok(match kind_of(message.kind)? {
        Some(kind) => broadcast.kind(kind),
        None => broadcast,
    })
}

/// A span that a caller gives in seconds, within its limits.
fn span(field: &str, given: f64, range: RangeInclusive<Duration>) -> Result<Duration, ViewError> {
    let span = Duration::try_from_secs_f64(given).ok().filter(|span| range.contains(span));
    span.ok_or_else(|| {
        let given = if given.abs() < 1e9 { given.to_string() } else { format!("{given:e}") };
        let (least, most) = (range.start().as_secs_f64(), range.end().as_secs_f64());
        ViewError::Refused(format!("{field} is {given}: {least} to {most} seconds are taken"))
    })
}

/// The type of message that a caller wishes.
fn kind_of(kind: Option<String>) -> Result<Option<String>, ViewError> {
    if kind.as_ref().is_some_and(String::is_empty) {
        return Err(ViewError::Refused("the message type is empty: leave it out".to_owned()));
    }
    Ok(kind)
}

/// The priority that a caller wishes.
fn priority_of(word: Option<String>) -> Result<Priority, ViewError> {
    let Some(word) = word else { return Ok(Priority::default()) };
    let wrong = || ViewError::Refused(format!("`{word}` is no priority: low, normal, high or critical"));
    Priority::from_name(&word).ok_or_else(wrong)
}

/// Why nothing was sent.
fn unsent(error: SendError) -> ViewError {
    match error {
        SendError::Stopped => ViewError::Stopped,
        SendError::Busy { .. }
        | SendError::Full { .. }
        | SendError::BusyPeer { .. }
        | SendError::FullPeer { .. }
        | SendError::Queued { .. } => ViewError::Busy(error.to_string()),
        SendError::TooLong { .. }
        | SendError::TooDeep { .. }
        | SendError::TooManyKeys { .. }
        | SendError::Kind { .. }
        | SendError::Reserved { .. }
        | SendError::Timeout { .. }
        | _ => ViewError::Refused(error.to_string()),
    }
}

fn refusal(error: MeshError) -> ViewError {
    match error {
        MeshError::Stopped => ViewError::Stopped,
        MeshError::Busy { .. } => ViewError::Busy(error.to_string()),
        MeshError::NotKept => ViewError::NotKept(error.to_string()),
        MeshError::NotAnObject { .. }
        | MeshError::State(_)
        | MeshError::TooManyHandlers { .. }
        | MeshError::NoThread(_)
        | _ => ViewError::Refused(error.to_string()),
    }
}

fn alert_refusal(error: AlertError) -> ViewError {
    match error {
        AlertError::Stopped => ViewError::Stopped,
        AlertError::TooMany { .. } => ViewError::Busy(error.to_string()),
        AlertError::Unknown { .. } => ViewError::Unknown(error.to_string()),
        AlertError::Payload(_) | AlertError::Ttl { .. } | AlertError::By { .. } | _ => {
            ViewError::Refused(error.to_string())
        }
    }
}

async fn add_one(mesh: &Mesh, record: Result<RecordDoc, String>, unless_held: bool) -> Result<AddedRow, RecordError> {
    let record = Record::try_from(record.map_err(|why| RecordError::Malformed { why })?)?;
    if unless_held { mesh.add_unless_held(record).await } else { mesh.add(record).await }
}

/// Why no sighting of something was deleted.
fn none_deleted(hash: &str, has_others: bool) -> String {
    let hash: String = hash.chars().take(100).collect();
    if has_others {
        return format!(
            "no sighting of `{hash}` was added here; those that other nodes added go with `--all` (`?all=true`)"
        );
    }
    format!("no sighting of `{hash}` is held here")
}

fn record_refusal(error: RecordError) -> ViewError {
    match error {
        RecordError::Stopped => ViewError::Stopped,
        RecordError::NotKept => ViewError::NotKept(error.to_string()),
        RecordError::Refused { .. } => ViewError::Busy(error.to_string()),
        RecordError::Unknown { .. } => ViewError::Unknown(error.to_string()),
        RecordError::Text { .. }
        | RecordError::Control { .. }
        | RecordError::Embedding(_)
        | RecordError::Dims { .. }
        | RecordError::Dtype { .. }
        | RecordError::NoNumbers
        | RecordError::Number { .. }
        | RecordError::NotAnObject { .. }
        | RecordError::TooLong { .. }
        | RecordError::TooDeep { .. }
        | RecordError::Malformed { .. }
        | RecordError::Name { .. }
        | _ => ViewError::Refused(error.to_string()),
    }
}

fn search_refusal(error: SearchError) -> ViewError {
    match error {
        SearchError::Stopped => ViewError::Stopped,
        SearchError::Busy { .. } => ViewError::Busy(error.to_string()),
        SearchError::NoSuchHash { .. } => ViewError::Unknown(error.to_string()),
        SearchError::Numbers(_)
        | SearchError::K { .. }
        | SearchError::Target
        | SearchError::Filter(_)
        | SearchError::Hash { .. }
        | SearchError::Timeout { .. }
        | SearchError::Unanswerable { .. }
        | _ => ViewError::Refused(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use kodikon::EventKind;

    use super::*;

    #[tokio::test]
    async fn a_node_whose_loop_is_stuck_shows_what_was_last() {
        let fleet = format!("stuck-{}", std::process::id());
        let mesh = Mesh::builder("cam").in_memory().mesh_name(&fleet).interfaces(["lo"]).start().await.expect("a node");
        let (held, is_held) = tokio::sync::oneshot::channel();
        let (release, released) = mpsc::channel::<()>();
        let mut held = Some(held);
        let hold = move |_: &kodikon::api::Event| {
            if let Some(held) = held.take() {
                held.send(()).expect("the test waits for it");
                assert!(released.recv().is_err(), "nothing is sent");
            }
        };
        mesh.on_inline(EventKind::State, hold).expect("a handler");
        mesh.set_state(serde_json::json!({"n": 1})).expect("a state");
        is_held.await.expect("the loop waits for the test");
        let shown = tokio::time::timeout(20 * REFRESH_WITHIN, async {
            (NodeView::peers(&mesh, false).await, NodeView::stats(&mesh).await, NodeView::routes(&mesh).await)
        });
        let (peers, stats, routes) = shown.await.expect("no answer waits for the loop");
        assert_eq!((peers, stats.map(|stats| stats.node_id), routes), (Ok(vec![]), Ok("cam".to_owned()), Ok(vec![])));
        drop(release);
        mesh.shutdown().await;
    }

    #[test]
    fn a_span_beyond_its_limits_is_refused_with_what_was_given_and_what_may_be() {
        let range = || TIMEOUT_LEAST..=TIMEOUT_MOST;
        assert_eq!(span("timeout_s", 2.5, range()), Ok(Duration::from_millis(2_500)));
        for (given, shown) in [(-3.0, "-3"), (0.0, "0"), (30.5, "30.5"), (1e300, "1e300"), (-1e300, "-1e300")] {
            let told = format!("timeout_s is {shown}: 0.001 to 30 seconds are taken");
            assert_eq!(span("timeout_s", given, range()), Err(ViewError::Refused(told)), "{given}");
        }
    }
}
