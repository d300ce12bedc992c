//! Builds the description of the API: paths from one table, schemas from the rows themselves.

use kodikon::api::{
    AckDoc, AckRow, AddedOrNot, AddedRow, AlertDoc, AlertReport, AlertRow, BroadcastDoc, BroadcastRow, DeletedRow,
    EmbeddingRow, FindingRow, FoundRow, LinkRow, Liveness, MessageDoc, MissingRow, NodeState, OtherRouteRow,
    OutcomeRow, PeerDetail, PeerRow, RecordDoc, RecordRow, RouteRow, RouteSource, SearchDoc, SearchReport, StateRow,
    StatsDoc, Status,
};
use serde_json::{Map, Value, json};
use utoipa::PartialSchema;

/// A way to call the API.
struct Operation {
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    /// The type of a good answer.
    content: &'static str,
    /// Its schema.
    schema: fn() -> Value,
}

const JSON: &str = "application/json";

/// Every path and method there is.
const OPERATIONS: [Operation; 24] = [
    Operation {
        method: "get",
        path: "/v1/peers",
        summary: "Who is in the mesh, without the node itself",
        content: JSON,
        schema: || list("PeerRow"),
    },
    Operation {
        method: "get",
        path: "/v1/peers/{name}",
        summary: "One peer with its counters",
        content: JSON,
        schema: || named("PeerDetail"),
    },
    Operation {
        method: "get",
        path: "/v1/routes",
        summary: "The way to every node that there is one to",
        content: JSON,
        schema: || list("RouteRow"),
    },
    Operation {
        method: "get",
        path: "/v1/state",
        summary: "The states of all nodes",
        content: JSON,
        schema: || by_name("StateRow"),
    },
    Operation {
        method: "patch",
        path: "/v1/state",
        summary: "Set keys of the node's own state; null removes one",
        content: JSON,
        schema: || by_name("StateRow"),
    },
    Operation {
        method: "get",
        path: "/v1/state/{name}",
        summary: "The state of one node",
        content: JSON,
        schema: || by_name("StateRow"),
    },
    Operation {
        method: "patch",
        path: "/v1/state/{name}",
        summary: "The same as PATCH /v1/state, where the name is the node's own",
        content: JSON,
        schema: || by_name("StateRow"),
    },
    Operation {
        method: "post",
        path: "/v1/messages",
        summary: "Say something to one node; with `repeat` a numbered series, answered by lines of JSON",
        content: JSON,
        schema: || named("OutcomeRow"),
    },
    Operation {
        method: "post",
        path: "/v1/broadcasts",
        summary: "Say something to all; with `repeat` a numbered series, answered by lines of JSON",
        content: JSON,
        schema: || named("BroadcastRow"),
    },
    Operation {
        method: "get",
        path: "/v1/alerts",
        summary: "The active alerts, the most urgent first",
        content: JSON,
        schema: || list("AlertRow"),
    },
    Operation {
        method: "post",
        path: "/v1/alerts",
        summary: "Show an alert to everyone who is here, or comes while it is active",
        content: JSON,
        schema: || named("AlertReport"),
    },
    Operation {
        method: "post",
        path: "/v1/alerts/{id}/ack",
        summary: "Tell all that somebody has seen an alert",
        content: JSON,
        schema: object,
    },
    Operation {
        method: "post",
        path: "/v1/search",
        summary: "The sightings whose embeddings are nearest to one, or to that of a hash",
        content: JSON,
        schema: || named("SearchReport"),
    },
    Operation {
        method: "get",
        path: "/v1/records",
        summary: "Sightings that are like this, newest first; a Link header with rel=\"next\" says where the rest is",
        content: JSON,
        schema: || list("RecordRow"),
    },
    Operation {
        method: "post",
        path: "/v1/records",
        summary: "Add a sighting; of a list each is answered in its place, with `error` where it was not added",
        content: JSON,
        schema: || json!({"oneOf": [named("AddedRow"), list("AddedOrNot")]}),
    },
    Operation {
        method: "get",
        path: "/v1/records/{hash}",
        summary: "All sightings of something, newest first",
        content: JSON,
        schema: || list("RecordRow"),
    },
    Operation {
        method: "delete",
        path: "/v1/records/{hash}",
        summary: "Remove the node's own sightings of something",
        content: JSON,
        schema: || named("DeletedRow"),
    },
    Operation {
        method: "get",
        path: "/v1/events",
        summary: "Events as they come (SSE); Last-Event-ID resumes",
        content: "text/event-stream",
        schema: text,
    },
    Operation { method: "get", path: "/v1/stats", summary: "Counters", content: JSON, schema: || named("StatsDoc") },
    Operation {
        method: "get",
        path: "/v1/doctor",
        summary: "What is wrong with the machine's network",
        content: JSON,
        schema: || list("FindingRow"),
    },
    Operation {
        method: "get",
        path: "/metrics",
        summary: "Counters for a scraper",
        content: crate::http::metrics::CONTENT_TYPE,
        schema: text,
    },
    Operation {
        method: "get",
        path: "/healthz",
        summary: "Whether the node's loop turns",
        content: JSON,
        schema: object,
    },
    Operation {
        method: "get",
        path: "/readyz",
        summary: "Whether the node takes part in the mesh",
        content: JSON,
        schema: object,
    },
    Operation { method: "get", path: "/openapi.json", summary: "This document", content: JSON, schema: object },
];

fn named(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn list(name: &str) -> Value {
    json!({"type": "array", "items": named(name)})
}

fn by_name(name: &str) -> Value {
    json!({"type": "object", "additionalProperties": named(name)})
}

fn text() -> Value {
    json!({"type": "string"})
}

fn object() -> Value {
    json!({"type": "object"})
}

fn build() -> Value {
    let mut paths = Map::new();
    for operation in &OPERATIONS {
        let item = paths.entry(operation.path).or_insert_with(object_value);
        if let Value::Object(item) = item {
            item.insert(operation.method.to_owned(), describe(operation));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Kodikon node",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The API of one node, on its machine's loopback. The token lies in `api.json` in the node's data folder; the one in `metrics.token` opens `/metrics` alone. A refusal is a problem document (RFC 9457); but what is no HTTP request (400), or has too long an address (414) or head (431), is answered with an empty body before anything of the API reads it.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    })
}

fn object_value() -> Value {
    Value::Object(Map::new())
}

fn describe(operation: &Operation) -> Value {
    let mut parameters = Vec::new();
    if operation.path.ends_with("{name}") {
        parameters.push(parameter("name", "path", text()));
    }
    match operation.path {
        "/v1/records" | "/v1/records/{hash}" => parameters.extend(of_records(operation)),
        "/v1/alerts/{id}/ack" => parameters.push(parameter("id", "path", text())),
        "/v1/peers" => parameters.push(parameter("all", "query", json!({"type": "boolean"}))),
        "/v1/events" => {
            let kinds = json!({"type": "array", "items": {"enum": crate::http::events::kinds()}});
            parameters.push(parameter("type", "query", kinds));
            parameters.push(parameter("Last-Event-ID", "header", text()));
        }
        _ => {}
    }
    let mut described = json!({
        "summary": operation.summary,
        "parameters": parameters,
        "responses": {
            "200": {"description": "done", "content": {operation.content: {"schema": (operation.schema)()}}},
            "default": {
                "description": "refused",
                "content": {"application/problem+json": {"schema": named("Problem")}},
            },
        },
    });
    if operation.method == "patch" {
        described["requestBody"] = json!({"required": true, "content": {JSON: {"schema": object()}}});
    }
    if operation.method == "post" && operation.path == "/v1/records" {
        let body = json!({"oneOf": [named("RecordDoc"), list("RecordDoc")]});
        described["requestBody"] = json!({"required": true, "content": {JSON: {"schema": body}}});
    } else if operation.method == "post" {
        let body = match operation.path {
            "/v1/alerts" => "AlertDoc",
            "/v1/alerts/{id}/ack" => "AckDoc",
            "/v1/broadcasts" => "BroadcastDoc",
            "/v1/search" => "SearchDoc",
            _ => "MessageDoc",
        };
        described["requestBody"] = json!({"required": true, "content": {JSON: {"schema": named(body)}}});
    }
    if matches!(operation.path, "/healthz" | "/readyz") {
        described["security"] = json!([]);
    }
    described
}

fn parameter(name: &str, place: &str, schema: Value) -> Value {
    json!({"name": name, "in": place, "required": place == "path", "schema": schema})
}

/// What may be asked of the registry beside what the path says.
fn of_records(operation: &Operation) -> Vec<Value> {
    let flag = |name| parameter(name, "query", json!({"type": "boolean"}));
    let number = |name| parameter(name, "query", json!({"type": "number"}));
    match (operation.method, operation.path) {
        ("post", _) => vec![flag("unless_held")],
        ("delete", _) => vec![parameter("hash", "path", text()), flag("all")],
        ("get", "/v1/records/{hash}") => vec![parameter("hash", "path", text()), flag("with_embedding")],
        _ => {
            let texts = ["type", "node", "hash", "after"].map(|name| parameter(name, "query", text()));
            let conditions = json!({"type": "array", "items": text()});
            let rest = [
                number("since"),
                number("until"),
                parameter("where", "query", conditions),
                flag("local"),
                parameter("limit", "query", json!({"type": "integer"})),
                flag("with_embedding"),
            ];
            texts.into_iter().chain(rest).collect()
        }
    }
}

fn schemas() -> Value {
    let schema = |schema| {
        serde_json::to_value::<utoipa::openapi::RefOr<utoipa::openapi::Schema>>(schema)
            .expect("a schema has no keys but strings")
    };
    json!({
        "PeerRow": schema(PeerRow::schema()),
        "PeerDetail": schema(PeerDetail::schema()),
        "RouteRow": schema(RouteRow::schema()),
        "LinkRow": schema(LinkRow::schema()),
        "OtherRouteRow": schema(OtherRouteRow::schema()),
        "RouteSource": schema(RouteSource::schema()),
        "MessageDoc": schema(MessageDoc::schema()),
        "BroadcastDoc": schema(BroadcastDoc::schema()),
        "BroadcastRow": schema(BroadcastRow::schema()),
        "OutcomeRow": schema(OutcomeRow::schema()),
        "AlertDoc": schema(AlertDoc::schema()),
        "AckDoc": schema(AckDoc::schema()),
        "AlertRow": schema(AlertRow::schema()),
        "AlertReport": schema(AlertReport::schema()),
        "MissingRow": schema(MissingRow::schema()),
        "AckRow": schema(AckRow::schema()),
        "RecordDoc": schema(RecordDoc::schema()),
        "RecordRow": schema(RecordRow::schema()),
        "EmbeddingRow": schema(EmbeddingRow::schema()),
        "AddedRow": schema(AddedRow::schema()),
        "AddedOrNot": schema(AddedOrNot::schema()),
        "DeletedRow": schema(DeletedRow::schema()),
        "SearchDoc": schema(SearchDoc::schema()),
        "SearchReport": schema(SearchReport::schema()),
        "FoundRow": schema(FoundRow::schema()),
        "StateRow": schema(StateRow::schema()),
        "StatsDoc": schema(StatsDoc::schema()),
        "FindingRow": schema(FindingRow::schema()),
        "Liveness": schema(Liveness::schema()),
        "NodeState": schema(NodeState::schema()),
        "Status": schema(Status::schema()),
        "Problem": {
            "type": "object",
            "description": "RFC 9457",
            "properties": {
                "type": text(),
                "title": text(),
                "status": {"type": "integer"},
                "detail": text(),
            },
        },
    })
}

/// Every `$ref` in a document.
fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str));
            fields.values().for_each(|field| references(field, found));
        }
        Value::Array(list) => list.iter().for_each(|element| references(element, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn every_reference_leads_to_a_schema() {
    let document = build();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 10, "{found:?}");
    for reference in found {
        let pointer = reference.strip_prefix('#').expect("within the document");
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

#[test]
fn the_rows_fields_are_described() {
    let document = build();
    for pointer in [
        "/components/schemas/PeerRow/properties/rtt_ms",
        "/components/schemas/RouteRow/properties/next_hop",
        "/components/schemas/StatsDoc/properties/drops",
        "/components/schemas/FindingRow/properties/cure",
        "/paths/~1v1~1state/patch/requestBody",
    ] {
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
}

#[test]
fn the_document_is_what_the_rows_say() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    let built = format!("{:#}\n", build());
    if std::env::var_os("KODIKON_WRITE").is_some() {
        std::fs::write(&path, &built).expect("a folder of the repository");
    }
    let kept = std::fs::read_to_string(&path).expect("the document is part of the repository");
    assert!(kept == built, "a row or a path has changed: write openapi.json anew, with KODIKON_WRITE=1");
}
