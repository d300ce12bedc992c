//! The API as its callers find it, over real connections, before a node that is made up.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use kodikon::api::{
    AddedOrNot, AddedRow, AlertDoc, AlertReport, AlertRow, BroadcastDoc, BroadcastRow, DeletedRow, Event, FindingRow,
    Liveness, MessageDoc, OutcomeRow, PeerDetail, PeerRow, RecordDoc, RecordRow, RouteRow, SearchDoc, SearchReport,
    StateDoc, StatsDoc, What,
};
use kodikon::{Filter, Found};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::*;

/// The only alert there is.
const ALERT: &str = "00000000000000ff";

/// A node with one peer and a state that can be changed.
#[derive(Debug, Default)]
struct Fake {
    state: Mutex<Map<String, Value>>,
    is_stuck: AtomicBool,
    /// Messages that it was asked to send.
    asked: AtomicUsize,
}

/// A row of the library, which alone can write one down.
fn made<T: serde::de::DeserializeOwned>(fields: Value) -> T {
    serde_json::from_value(fields).expect("its fields")
}

fn row() -> PeerRow {
    made(json!({
        "node_id": "cam2", "id": "22", "liveness": "alive", "state": "active", "address": "10.0.0.2:10000", "hops": 0, "rtt_ms": 0.4,
        "last_heard_ms": 12, "witnesses": [], "version": "0.1.0", "capabilities": {},
    }))
}

fn record(hash: &str) -> RecordRow {
    made(json!({
        "hash_value": hash, "node_id": "cam1", "data_type": "bag", "timestamp": 1.0, "embedding": null, "metadata": {},
        "confidence": 1.0, "ttl_s": 60.0, "ownership_history": null, "transfer_token": null, "last_update": null,
        "source_node_id": null, "location_signature": null,
    }))
}

fn found(hash: &str, score: f64) -> Value {
    let mut found = serde_json::to_value(record(hash)).expect("no keys but strings");
    found["score"] = json!(score);
    found
}

impl Fake {
    fn own(&self) -> StateDoc {
        let state = self.state.lock().expect("no test panics with it").clone();
        BTreeMap::from([("cam1".to_owned(), made(json!({"version": state.len(), "timestamp": 1.0, "state": state})))])
    }
}

impl NodeView for Fake {
    async fn peers(&self, all: bool) -> Result<Vec<PeerRow>, ViewError> {
        let mut left = row();
        (left.node_id, left.liveness) = ("cam3".into(), Liveness::Left);
        Ok(if all { vec![row(), left] } else { vec![row()] })
    }

    async fn peer(&self, name: &str) -> Result<Option<PeerDetail>, ViewError> {
        let mut fields = json!(row());
        fields["counters"] = json!({"datagrams_received": 5});
        Ok((name == "cam2").then(|| made(fields)))
    }

    async fn routes(&self) -> Result<Vec<RouteRow>, ViewError> {
        Ok(vec![made(json!({
            "node_id": "cam3", "id": "33", "next_hop": "cam2", "path": ["cam2", "cam3"], "relays": 1, "cost": 20,
            "interface": "eth0", "source": "map",
        }))])
    }

    async fn states(&self) -> Result<StateDoc, ViewError> {
        Ok(self.own())
    }

    async fn state(&self, name: &str) -> Result<Option<StateDoc>, ViewError> {
        Ok(self.is_own_name(name).then(|| self.own()))
    }

    async fn change_state(&self, changes: Map<String, Value>) -> Result<StateDoc, ViewError> {
        if changes.len() > 64 {
            return Err(ViewError::Refused("a node has at most 64 keys".into()));
        }
        let mut state = self.state.lock().expect("no test panics with it");
        for (key, value) in changes {
            if value.is_null() {
                state.remove(&key)
            } else {
                state.insert(key, value)
            };
        }
        drop(state);
        Ok(self.own())
    }

    fn check(&self, message: &MessageDoc) -> Result<(), ViewError> {
        if message.priority.is_some() { Err(ViewError::Refused("no such priority".into())) } else { Ok(()) }
    }

    async fn send(&self, message: MessageDoc, n: Option<u32>) -> Result<OutcomeRow, ViewError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if message.to == "busy" {
            return Err(ViewError::Busy("too many".into()));
        }
        if message.to == "stopping" {
            return Err(ViewError::Stopped);
        }
        if message.to == "silent" {
            return std::future::pending().await;
        }
        Ok(made(json!({
            "n": n, "outcome": "delivered", "reason": null, "rtt_ms": 0.5, "path": [message.to], "attempts": 1,
        })))
    }

    fn nearest(&self, name: &str) -> Option<String> {
        (name == "cam-2").then(|| "cam2".to_owned())
    }

    fn check_broadcast(&self, message: &BroadcastDoc) -> Result<(), ViewError> {
        if message.kind.is_some() { Err(ViewError::Refused("no such type".into())) } else { Ok(()) }
    }

    async fn broadcast(&self, message: BroadcastDoc, n: Option<u32>) -> Result<BroadcastRow, ViewError> {
        match message.priority.as_deref() {
            Some("busy") => Err(ViewError::Busy("too many".into())),
            Some(_) | None => Ok(made(json!({"n": n, "id": "a-1-1", "sent_to": "all"}))),
        }
    }

    async fn alert(&self, alert: AlertDoc) -> Result<AlertReport, ViewError> {
        let priority = alert.priority.unwrap_or_default();
        Ok(made(
            json!({"alert_id": ALERT, "priority": priority, "delivered": ["cam2"], "durable": [], "missing": [], "kept": true}),
        ))
    }

    async fn alerts(&self) -> Result<Vec<AlertRow>, ViewError> {
        Ok(vec![made(json!({
            "alert_id": ALERT, "source": "cam1", "id": "00", "priority": "high", "alert": {"door": 3}, "timestamp": 1.0,
            "expires": 2.0, "delivered": [], "durable": [], "missing": [], "acknowledged": [], "late": false,
            "repeated": false, "kept": true,
        }))])
    }

    async fn acknowledge(&self, id: &str, _: &str) -> Result<(), ViewError> {
        if id == ALERT { Ok(()) } else { Err(ViewError::Unknown(format!("no alert `{id}`"))) }
    }

    async fn search(&self, search: SearchDoc) -> Result<SearchReport, ViewError> {
        match search.like.as_deref() {
            Some("8f3a") => Ok(made(json!({
                "results": [found("6c1f", 0.5)], "responded": 1, "of": 1, "certified": true, "elapsed_ms": 0.5,
            }))),
            Some(hash) => Err(ViewError::Unknown(format!("no sighting of `{hash}` has an embedding here"))),
            None => Err(ViewError::Refused("number 1 is NaN: an embedding's numbers are finite".to_owned())),
        }
    }

    async fn add(&self, record: RecordDoc, unless_held: bool) -> Result<AddedRow, ViewError> {
        match record.hash_value.as_str() {
            "" => Err(ViewError::Refused("hash_value has 0 bytes".into())),
            "full" => Err(ViewError::Busy("the disk is full".into())),
            hash => Ok(made(json!({
                "hash_value": hash, "node_id": "cam1", "data_type": "", "timestamp": 1.0, "durable": true, "id": "1",
                "skipped": unless_held,
            }))),
        }
    }

    async fn add_all(
        &self,
        records: Vec<Result<RecordDoc, String>>,
        unless_held: bool,
    ) -> Result<Vec<AddedOrNot>, ViewError> {
        let mut rows = Vec::new();
        for record in records {
            let added = match record {
                Ok(record) => self.add(record, unless_held).await,
                Err(why) => Err(ViewError::Refused(why)),
            };
            rows.push(match added {
                Ok(row) => json!(row),
                Err(error) => json!({"error": format!("{error:?}"), "again": false}),
            });
        }
        Ok(rows.into_iter().map(made).collect())
    }

    async fn get(&self, hash: &str, with_embedding: bool) -> Result<Vec<RecordRow>, ViewError> {
        let mut row = record(hash);
        if with_embedding {
            row.embedding = Some(made(json!({"model": "m", "dims": 1, "dtype": "f16", "numbers": [1.0]})));
        }
        Ok(if hash == "nothing" { Vec::new() } else { vec![row] })
    }

    async fn find(&self, filter: Filter) -> Result<Found, ViewError> {
        let mut found = Found::default();
        found.records = vec![record("a b")];
        found.next = (filter == Filter::new().data_type("bag").limit(1)).then(|| "5.next".to_owned());
        Ok(found)
    }

    async fn delete(&self, hash: &str, all: bool) -> Result<DeletedRow, ViewError> {
        match hash {
            "nothing" => Err(ViewError::Unknown("none".into())),
            _ => Ok(made(json!({"deleted": 1 + u64::from(all), "durable": true}))),
        }
    }

    fn is_own_name(&self, name: &str) -> bool {
        name == "cam1"
    }

    async fn stats(&self) -> Result<StatsDoc, ViewError> {
        Err(ViewError::Stopped)
    }

    async fn doctor(&self) -> Result<Vec<FindingRow>, ViewError> {
        Ok(vec![made(json!({"check": "x", "status": "ok", "evidence": "y", "cure": ""}))])
    }

    fn is_turning(&self) -> bool {
        !self.is_stuck.load(Ordering::Relaxed)
    }

    fn is_ready(&self) -> bool {
        false
    }
}

/// A served API and what its tests need of it.
struct Served {
    api: Arc<Api<Fake>>,
    address: SocketAddr,
    token: Token,
    ring: EventRing,
    end: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

async fn served() -> Served {
    let any = ApiAddress::At(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let listener = bind(any).await.expect("a free port").expect("an API is wanted");
    let address = listener.local_addr().expect("bound");
    let (token, ring) = (Token::generate().expect("random bytes"), EventRing::new("run"));
    let api = Arc::new(Api { node: Fake::default(), events: ring.clone(), token: token.clone(), metrics_token: None });
    let (end, ended) = oneshot::channel::<()>();
    let task = tokio::spawn(serve(listener, Arc::clone(&api), async move {
        let _ = ended.await;
    }));
    Served { api, address, token, ring, end, task }
}

impl Served {
    /// Calls the API and gives back status, content type and body.
    async fn call(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.address).await.expect("it listens");
        let token = self.token.as_str();
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: {}\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n{headers}\r\n{body}",
            self.address,
            body.len()
        );
        // A server that has answered already may close before all is written.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8(answer).expect("text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let kind = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-type: ").map(str::to_owned));
        (status, kind.unwrap_or_default(), body.to_owned())
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let (status, _, body) = self.call("GET", path, "", "").await;
        (status, serde_json::from_str(&body).expect("JSON"))
    }
}

#[tokio::test]
async fn each_path_answers_with_its_rows() {
    let served = served().await;
    let (status, peers) = served.get("/v1/peers").await;
    assert_eq!((status, &peers[0]["node_id"], &peers[0]["liveness"]), (200, &json!("cam2"), &json!("alive")));
    assert_eq!(served.get("/v1/peers?all=true").await.1.as_array().map(Vec::len), Some(2));
    let (status, peer) = served.get("/v1/peers/cam2").await;
    assert_eq!((status, &peer["counters"]["datagrams_received"], &peer["hops"]), (200, &json!(5), &json!(0)));
    let (status, routes) = served.get("/v1/routes").await;
    assert_eq!((status, &routes[0]["path"], &routes[0]["source"]), (200, &json!(["cam2", "cam3"]), &json!("map")));
    assert_eq!(
        served.get("/v1/doctor").await,
        (200, json!([{"check": "x", "status": "ok", "evidence": "y", "cure": ""}]))
    );
    assert_eq!(served.get("/healthz").await, (200, json!({"status": "ok"})));
    assert_eq!(served.get("/openapi.json").await.0, 200);
}

#[tokio::test]
async fn a_message_is_answered_with_what_became_of_it_and_a_series_line_by_line() {
    let served = served().await;
    let (status, _, body) = served.call("POST", "/v1/messages", "", r#"{"to": "cam2", "payload": 1}"#).await;
    let row: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((status, &row["outcome"], &row["path"]), (200, &json!("delivered"), &json!(["cam2"])));
    assert!(row.get("n").is_none(), "{row}");

    let series = r#"{"to": "cam2", "payload": {}, "repeat": 20, "interval_ms": 1}"#;
    let (status, kind, body) = served.call("POST", "/v1/messages", "", series).await;
    assert_eq!((status, kind.as_str()), (200, "application/x-ndjson"));
    let lines = body.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let numbers: std::collections::BTreeSet<u64> = lines.filter_map(|line| line["n"].as_u64()).collect();
    assert_eq!(numbers, (1..=20).collect());

    let deep = format!(r#"{{"to": "cam2", "payload": {}{}}}"#, "[".repeat(200), "]".repeat(200));
    // (body, status, what the refusal names)
    for (body, expected, names) in [
        (r#"{"to": "cam2"}"#, 400, "payload"),
        (r#"{"to": "cam2", "payload": 1, "colour": "red"}"#, 400, "colour"),
        (r#"{"to": "cam2", "payload": 1, "repeat": 0}"#, 400, "1000000"),
        ("[", 400, "payload"),
        (r#"["cam2", 1]"#, 400, "an object"),
        (r#"{"to": "cam2", "payload": 1, "repeat": 2, "interval_ms": 0}"#, 400, "interval_ms"),
        (r#"{"to": "cam2", "payload": {"n": 1}, "repeat": 2}"#, 400, "a series numbers"),
        (&deep, 400, "32 arrays and objects"),
        (r#"{"to": "busy", "payload": 1}"#, 503, "too many"),
        (r#"{"to": "cam2", "payload": 1, "repeat": 5, "priority": "urgent"}"#, 422, "no such priority"),
    ] {
        let (status, kind, text) = served.call("POST", "/v1/messages", "", body).await;
        assert_eq!((status, kind.as_str()), (expected, "application/problem+json"), "{body}: {text}");
        assert!(text.contains(names), "{body}: {text}");
    }
}

#[tokio::test]
async fn in_a_series_a_refusal_is_told_as_one_and_what_was_sent_to_whoever_asks() {
    let served = served().await;
    let series = r#"{"to": "busy", "payload": {}, "repeat": 3, "interval_ms": 1, "progress": true}"#;
    let (_, _, body) = served.call("POST", "/v1/messages", "", series).await;
    let lines: Vec<Value> = body.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let sent: Vec<u64> = lines.iter().filter_map(|line| line["sent"].as_u64()).collect();
    assert_eq!(sent, [1, 2, 3]);
    let refused: Vec<_> = lines.iter().filter(|line| line["outcome"] == "refused").collect();
    assert!(refused.len() == 3 && refused.iter().all(|row| row["reason"] == "too many"), "{body}");
    assert_eq!(lines.len(), 6);
}

#[tokio::test]
async fn a_series_ends_with_its_node() {
    let served = served().await;
    let series = r#"{"to": "stopping", "payload": {}, "repeat": 1000000, "interval_ms": 1}"#;
    let (_, _, body) = served.call("POST", "/v1/messages", "", series).await;
    let first: Value = serde_json::from_str(body.lines().next().expect("a line")).expect("JSON");
    assert_eq!((&first["outcome"], &first["reason"]), (&json!("refused"), &json!("the node stops")));
    assert!(body.lines().count() < kodikon::SENDS_WAITING, "{} lines", body.lines().count());
}

/// Begins an endless series of a message each millisecond that nobody answers; it is the caller of the stream.
async fn silent_series(served: &Served) -> TcpStream {
    let body = r#"{"to": "silent", "payload": {}, "repeat": 1000000, "interval_ms": 1}"#;
    let mut stream = TcpStream::connect(served.address).await.expect("it listens");
    let (address, token, length) = (served.address, served.token.as_str(), body.len());
    let head = format!("POST /v1/messages HTTP/1.0\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n");
    let request = format!("{head}Content-Length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).await.expect("it is read");
    stream
}

/// Waits at most a minute: whatever takes longer will not come.
async fn until(mut is_so: impl FnMut() -> bool) {
    let asking = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), asking).await.expect("it should have happened long ago");
}

#[tokio::test]
async fn a_series_keeps_its_rhythm_while_nobody_answers() {
    let served = served().await;
    let caller = silent_series(&served).await;
    // As many as a node has room for: it refuses more, so that none of those holds a place.
    until(|| served.api.node.asked.load(Ordering::Relaxed) >= kodikon::SENDS_WAITING).await;
    drop(caller);
}

#[tokio::test]
async fn a_series_ends_with_its_caller() {
    let served = served().await;
    let asked = || served.api.node.asked.load(Ordering::Relaxed);
    let caller = silent_series(&served).await;
    until(|| asked() >= 10).await;
    drop(caller);
    // It is over once half a second has none of its messages; a busy machine may only take longer to get there.
    let (mut last, mut since) = (asked(), std::time::Instant::now());
    until(|| {
        if last != asked() {
            (last, since) = (asked(), std::time::Instant::now());
        }
        since.elapsed() >= Duration::from_millis(500)
    })
    .await;
    assert!(last < kodikon::SENDS_WAITING, "it went on until there was no place left: {last}");
}

#[tokio::test]
async fn a_broadcast_is_answered_with_its_name_and_a_series_line_by_line() {
    let served = served().await;
    let (status, _, body) = served.call("POST", "/v1/broadcasts", "", r#"{"payload": 1}"#).await;
    let row: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((status, row), (200, json!({"id": "a-1-1", "sent_to": "all", "too_far": []})));

    let series = r#"{"payload": {}, "repeat": 20, "interval_ms": 1}"#;
    let (status, kind, body) = served.call("POST", "/v1/broadcasts", "", series).await;
    assert_eq!((status, kind.as_str()), (200, "application/x-ndjson"));
    let lines = body.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let numbers: std::collections::BTreeSet<u64> = lines.filter_map(|line| line["n"].as_u64()).collect();
    assert_eq!(numbers, (1..=20).collect());

    // (body, status, what the refusal names)
    for (body, expected, names) in [
        (r#"{"to": "cam2", "payload": 1}"#, 400, "to"),
        (r#"{"payload": 1, "repeat": 0}"#, 400, "1000000"),
        ("[", 400, "payload"),
        (r#"{"payload": 1, "priority": "busy"}"#, 503, "too many"),
        (r#"{"payload": 1, "type": "ALERT", "repeat": 2}"#, 422, "no such type"),
    ] {
        let (status, kind, text) = served.call("POST", "/v1/broadcasts", "", body).await;
        assert_eq!((status, kind.as_str()), (expected, "application/problem+json"), "{body}: {text}");
        assert!(text.contains(names), "{body}: {text}");
    }
}

#[tokio::test]
async fn an_alert_is_raised_listed_and_acknowledged() {
    let served = served().await;
    let (status, _, body) =
        served.call("POST", "/v1/alerts", "", r#"{"alert": {"door": 3}, "priority": "high"}"#).await;
    let report: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((status, &report["alert_id"], &report["priority"]), (200, &json!(ALERT), &json!("high")));
    let (status, alerts) = served.get("/v1/alerts").await;
    assert_eq!((status, &alerts[0]["alert"]["door"]), (200, &json!(3)));
    for (id, body, expected) in [
        (ALERT, "", 400),
        (ALERT, r#"["anna"]"#, 400),
        (ALERT, "{}", 400),
        (ALERT, r#"{"by": "anna"}"#, 200),
        (ALERT, r#"{"who": 1}"#, 400),
        ("ff", r#"{"by": "anna"}"#, 404),
    ] {
        let status = served.call("POST", &format!("/v1/alerts/{id}/ack"), "", body).await.0;
        assert_eq!(status, expected, "{id} {body}");
    }
    for body in [r#"{"payload": 1}"#, r#"[{"a": 1}, "high", 10, 0]"#, "[]"] {
        assert_eq!(served.call("POST", "/v1/alerts", "", body).await.0, 400, "{body}");
    }
}

#[tokio::test]
async fn a_record_is_added_found_and_removed_and_of_a_list_each_is_answered() {
    let served = served().await;
    let add = async |path: &str, body: &str| {
        let (status, _, body) = served.call("POST", path, "", body).await;
        (status, serde_json::from_str::<Value>(&body).expect("JSON"))
    };
    let (status, added) = add("/v1/records", r#"{"hash_value": "a b"}"#).await;
    assert_eq!((status, &added["hash_value"], &added["durable"]), (200, &json!("a b"), &json!(true)));
    assert!(added.get("skipped").is_none(), "{added}");
    for (body, expected) in [
        (r#"{"hash_value": ""}"#, 422),
        (r#"{"hash_value": "full"}"#, 503),
        (r#"{"hash": "a"}"#, 400),
        ("{", 400),
        ("[", 400),
    ] {
        assert_eq!(add("/v1/records", body).await.0, expected, "{body}");
    }
    for list in [r#"[["a", "bag"]]"#, r#"[["a", "bag"], 7]"#] {
        let (status, rows) = add("/v1/records", list).await;
        let error = rows[0]["error"].as_str().unwrap_or_default();
        assert_eq!((status, error.contains("expected an object")), (200, true), "{rows}");
    }
    let list = r#" [{"hash_value": "a"}, {"hash": "b"}, 7, {"hash_value": "c"}]"#;
    let (status, rows) = add("/v1/records?unless_held=true", list).await;
    assert_eq!((status, &rows[0]["hash_value"], &rows[3]["skipped"]), (200, &json!("a"), &json!(true)));
    assert!(rows[1]["error"].as_str().is_some_and(|error| error.contains("unknown field `hash`")), "{rows}");
    assert!(rows[2]["error"].is_string(), "{rows}");

    let (status, rows) = served.get("/v1/records/a%20b").await;
    assert_eq!((status, &rows[0]["hash_value"], &rows[0]["embedding"]), (200, &json!("a b"), &Value::Null));
    assert_eq!(served.get("/v1/records/a?with_embedding=true").await.1[0]["embedding"]["numbers"], json!([1.0]));
    assert_eq!(served.get("/v1/records/nothing").await.0, 404);
    assert_eq!(served.get("/v1/records/%ff").await.0, 400);
    assert_eq!(served.get("/v1/records?colour=red").await.0, 400);
    assert_eq!(served.get("/v1/records").await.1.as_array().map(Vec::len), Some(1));
    let delete = async |path: &str| {
        let (status, _, body) = served.call("DELETE", path, "", "").await;
        (status, serde_json::from_str::<Value>(&body).expect("JSON")["deleted"].clone())
    };
    assert_eq!(delete("/v1/records/a").await, (200, json!(1)));
    assert_eq!(delete("/v1/records/a?all=true").await, (200, json!(2)));
    assert_eq!(delete("/v1/records/nothing").await.0, 404);
}

#[tokio::test]
async fn a_search_is_answered_with_records_and_scores_and_refused_in_words() {
    let served = served().await;
    let (status, _, body) = served.call("POST", "/v1/search", "", r#"{"like": "8f3a", "k": 3, "type": "bag"}"#).await;
    let report: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((status, &report["certified"], &report["of"]), (200, &json!(true), &json!(1)));
    let first = &report["results"][0];
    assert_eq!(
        (&first["hash_value"], &first["score"], &first["node_id"]),
        (&json!("6c1f"), &json!(0.5), &json!("cam1"))
    );
    for (body, expected) in [
        (r#"{"like": "nobody"}"#, 404),
        (r#"{"embedding": [1, 1e300]}"#, 422),
        (r#"{"embedding": "x"}"#, 400),
        (r#"[null, "8f3a"]"#, 400),
        (r#"{"like": "8f3a", "nearest": 3}"#, 400),
        ("", 400),
    ] {
        assert_eq!(served.call("POST", "/v1/search", "", body).await.0, expected, "{body}");
    }
}

#[tokio::test]
async fn where_the_rest_of_the_records_is_stands_in_a_link_that_the_client_follows() {
    let served = served().await;
    let mut stream = TcpStream::connect(served.address).await.expect("it listens");
    let head = format!(
        "GET /v1/records?type=bag&limit=1 HTTP/1.0\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\r\n",
        served.address,
        served.token.as_str()
    );
    stream.write_all(head.as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("text");
    let link = answer.lines().find(|line| line.to_lowercase().starts_with("link: ")).expect("a link");
    assert!(link.ends_with("</v1/records?type=bag&limit=1&after=5.next>; rel=\"next\""), "{link}");
}

#[tokio::test]
async fn health_is_the_loops_and_not_the_servers() {
    let served = served().await;
    assert_eq!(served.get("/healthz").await.0, 200);
    served.api.node.is_stuck.store(true, Ordering::Relaxed);
    let (status, kind, _) = served.call("GET", "/healthz", "", "").await;
    assert_eq!((status, kind.as_str()), (503, "application/problem+json"));
}

#[tokio::test]
async fn a_patch_sets_keys_and_null_removes_one() {
    let served = served().await;
    let patch = async |path: &str, body: &str| {
        let (status, _, body) = served.call("PATCH", path, "", body).await;
        (status, serde_json::from_str::<Value>(&body).expect("JSON"))
    };
    assert_eq!(
        patch("/v1/state", r#"{"fps":30,"mode":"x"}"#).await.1["cam1"]["state"],
        json!({"fps": 30, "mode": "x"})
    );
    assert_eq!(patch("/v1/state/cam1", r#"{"mode":null}"#).await.1["cam1"]["state"], json!({"fps": 30}));
    assert_eq!(served.get("/v1/state/cam1").await.1["cam1"]["state"], json!({"fps": 30}));
    assert_eq!(patch("/v1/state/cam2", r#"{"fps":1}"#).await.0, 403, "a peer's state is its own");
}

#[tokio::test]
async fn every_refusal_is_a_problem_document() {
    let served = served().await;
    let many = Value::Object((0..65).map(|n| (n.to_string(), json!(n))).collect()).to_string();
    let huge = "x".repeat(MAX_BODY + 1);
    for (method, path, headers, body, expected) in [
        ("GET", "/v1/nothing", "", "", 404),
        ("GET", "/", "", "", 404),
        ("GET", "/v1/peers/cam9", "", "", 404),
        ("GET", "/v1/state/cam9", "", "", 404),
        ("GET", "/v1/state/cam-2", "", "", 404),
        ("GET", "/v1/state/%ff", "", "", 400),
        ("GET", "/v1/peers/%ff", "", "", 400),
        ("PATCH", "/v1/state/%ff", "", "{}", 400),
        ("POST", "/v1/alerts/%ff/ack", "", r#"{"by": "anna"}"#, 400),
        ("GET", "/v1/records/%ff", "", "", 400),
        ("DELETE", "/v1/records/%ff", "", "", 400),
        ("POST", "/v1/search", "", "[]", 400),
        ("DELETE", "/v1/peers", "", "", 405),
        ("GET", "/v1/peers?al=true", "", "", 400),
        ("GET", "/v1/events?type=party", "", "", 400),
        ("PATCH", "/v1/state", "", "", 400),
        ("PATCH", "/v1/state", "", "[1]", 400),
        ("PATCH", "/v1/state", "", "{\"a\":", 400),
        ("PATCH", "/v1/state", "", &many, 422),
        ("PATCH", "/v1/state", "", &huge, 413),
        ("GET", "/v1/peers", "Origin: http://evil.example\r\n", "", 403),
        ("GET", "/v1/stats", "", "", 503),
        ("GET", "/metrics", "", "", 503),
        ("GET", "/readyz", "", "", 503),
    ] {
        let (status, kind, body) = served.call(method, path, headers, body).await;
        assert_eq!((status, kind.as_str()), (expected, "application/problem+json"), "{method} {path}");
        let problem: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(problem["status"], json!(expected), "{body}");
        assert!(problem["title"].is_string() && problem["detail"].is_string(), "{body}");
        assert_eq!(body.contains("did you mean `cam2`?"), path.ends_with("cam-2"), "{body}");
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for_and_its_connection_ends() {
    let served = served().await;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let within = Duration::from_millis(300);
    let router = router(Arc::clone(&served.api), within);
    tokio::spawn(connections::serve(listener, router, Limits::USUAL, std::future::pending()));
    // Nothing of it, and a part of it.
    for body in ["", "{"] {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let token = served.token.as_str();
        let head = format!(
            "POST /v1/alerts HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nContent-Length: 20"
        );
        stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        let ended = tokio::time::timeout(within * 20, stream.read_to_string(&mut answer)).await;
        assert!(matches!(ended, Ok(Ok(_))), "{ended:?}: {answer}");
        let head = answer.to_lowercase();
        assert!(head.starts_with("http/1.1 408 ") && head.contains("application/problem+json"), "{answer}");
    }
}

#[tokio::test]
async fn what_is_described_is_there() {
    let served = served().await;
    let document = served.get("/openapi.json").await.1;
    for (path, item) in document["paths"].as_object().expect("paths") {
        let name = if path.starts_with("/v1/peers") { "cam2" } else { "cam1" };
        let path = path.replace("{name}", name).replace("{id}", ALERT);
        for method in item.as_object().expect("methods").keys() {
            if path == "/v1/events" {
                continue; // it does not end by itself
            }
            let body = if path == "/v1/alerts" { r#"{"alert": 1}"# } else { "{}" };
            let status = served.call(&method.to_uppercase(), &path, "", body).await.0;
            assert!(status != 404 && status != 405, "{method} {path}: {status}");
        }
    }
}

#[tokio::test]
async fn events_come_as_they_happen_resume_and_end_with_the_node() {
    let served = served().await;
    let event = |reason: &str| Event::new(1.0, What::Isolated { isolated: true, reason: reason.into() });
    served.ring.extend(vec![event("before").into()]);
    let mut stream = TcpStream::connect(served.address).await.expect("it listens");
    let (host, token) = (served.address, served.token.as_str());
    let head = format!(
        "GET /v1/events HTTP/1.0\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nLast-Event-ID: old-3\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("written");
    let mut lines = BufReader::new(stream).lines();
    let mut data = async || {
        while let Some(line) = lines.next_line().await.expect("readable") {
            if let Some(data) = line.strip_prefix("data: ") {
                return Some(serde_json::from_str::<Value>(data).expect("JSON"));
            }
        }
        None
    };
    assert_eq!(data().await.expect("an event")["event"], json!("missed"));
    assert_eq!(data().await.expect("an event")["reason"], json!("before"));
    served.ring.extend(vec![event("after").into()]);
    assert_eq!(data().await.expect("an event")["reason"], json!("after"));
    served.end.send(()).expect("it runs");
    assert_eq!(data().await, None, "the stream ends with the node");
    let ended = tokio::time::timeout(Duration::from_secs(10), served.task).await.expect("it ends");
    ended.expect("no panic");
}

#[tokio::test]
async fn a_taken_address_is_an_error_where_it_was_given_and_passed_over_where_not() {
    let first = bind(ApiAddress::Auto).await.expect("a free port").expect("an API is wanted");
    let second = bind(ApiAddress::Auto).await.expect("a free port").expect("an API is wanted");
    let address = first.local_addr().expect("bound");
    assert_ne!(address, second.local_addr().expect("bound"));
    let error = bind(ApiAddress::At(address)).await.expect_err("taken");
    assert!(error.to_string().contains("is taken by another program"), "{error}");
    assert!(bind(ApiAddress::None).await.expect("nothing to take").is_none());
}
