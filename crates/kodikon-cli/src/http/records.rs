//! Decides how sightings are taken from a caller, which of them are shown, and what is removed.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use kodikon::api::{AddedOrNot, DeletedRow, Named, RecordDoc, RecordRow};
use kodikon::{Filter, Found};
use serde_json::Value;

use super::body::whole;
use super::handlers::Segment;
use super::problem::Problem;
use super::{Api, NodeView};

type Shared<N> = State<Arc<Api<N>>>;

/// Records of one list at most: more do not fit a body anyway, if they have embeddings.
const MAX_LIST: usize = 4_096;
/// Records in one answer at most, and where each has its numbers: some 16 MB; `after` goes on.
const MAX_FOUND: usize = 4_096;
const MAX_FOUND_WITH_NUMBERS: usize = 1_024;

/// `POST /v1/records`: one record, or a list of them; with `?unless_held=true` those that are there already are left out.
pub(crate) async fn add<N: NodeView>(
    State(api): Shared<N>,
    RawQuery(query): RawQuery,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let mut unless_held = false;
    for (key, value) in pairs(query.as_deref())? {
        match (key.as_str(), value.as_str()) {
            ("unless_held", "true" | "") => unless_held = true,
            ("unless_held", "false") => unless_held = false,
            _ => return Err(unknown(&key, "unless_held=true")),
        }
    }
    let body = whole(body)?;
    let is_list = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    if is_list {
        return Ok(Json(add_all(&api, &body, unless_held).await?).into_response());
    }
    let Named(record) = serde_json::from_slice(&body).map_err(|error| wrong(&error))?;
    Ok(Json(api.node.add(record, unless_held).await?).into_response())
}

async fn add_all<N: NodeView>(api: &Api<N>, body: &[u8], unless_held: bool) -> Result<Vec<AddedOrNot>, Problem> {
    let too_many = |count: usize| {
        let detail = format!("a list of {count} records: at most {MAX_LIST} are taken");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "Too many", detail)
    };
    if let Ok(records) = serde_json::from_slice::<Vec<Named<RecordDoc>>>(body) {
        let count = records.len();
        let records = records.into_iter().map(|Named(record)| Ok(record)).collect();
        return if count > MAX_LIST {
            Err(too_many(count))
        } else {
            Ok(api.node.add_all(records, unless_held).await?)
        };
    }
    // One that is none must not keep the others out.
    let values: Vec<Value> = serde_json::from_slice(body).map_err(|error| wrong(&error))?;
    if values.len() > MAX_LIST {
        return Err(too_many(values.len()));
    }
    let read = |value| match serde_json::from_value(value) {
        Ok(Named(record)) => Ok(record),
        Err(error) => Err(error.to_string()),
    };
    Ok(api.node.add_all(values.into_iter().map(read).collect(), unless_held).await?)
}

fn wrong(error: &serde_json::Error) -> Problem {
    Problem::bad_request(format!("the body must be a record {{\"hash_value\", …}} or a list of them: {error}"))
}

/// `GET /v1/records`. A `Link` with `rel="next"` (RFC 8288) says where the rest is.
pub(crate) async fn find<N: NodeView>(State(api): Shared<N>, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let Found { records, next, .. } = api.node.find(filter(query.as_deref())?).await?;
    let mut response = Json(records).into_response();
    if let Some(next) = next {
        let kept = query.as_deref().unwrap_or_default().split('&').filter(|part| !part.starts_with("after="));
        let rest: String = kept.filter(|part| !part.is_empty()).map(|part| format!("{part}&")).collect();
        // What stood in a query may stand in a header.
        if let Ok(link) = HeaderValue::try_from(format!("</v1/records?{rest}after={next}>; rel=\"next\"")) {
            response.headers_mut().insert(header::LINK, link);
        }
    }
    Ok(response)
}

/// `GET /v1/records/{hash}`, `?with_embedding=true` for the numbers of the embeddings.
pub(crate) async fn get<N: NodeView>(
    State(api): Shared<N>,
    Segment(hash): Segment,
    RawQuery(query): RawQuery,
) -> Result<Json<Vec<RecordRow>>, Problem> {
    let mut with_embedding = false;
    for (key, value) in pairs(query.as_deref())? {
        match key.as_str() {
            "with_embedding" => with_embedding = flag(&key, &value)?,
            _ => return Err(unknown(&key, "with_embedding=true")),
        }
    }
    let rows = api.node.get(&hash, with_embedding).await?;
    if rows.is_empty() {
        return Err(unseen(&hash));
    }
    Ok(Json(rows))
}

/// `DELETE /v1/records/{hash}`: those seen here; `?all=true` for others' too, where the mesh allows it.
pub(crate) async fn delete<N: NodeView>(
    State(api): Shared<N>,
    Segment(hash): Segment,
    RawQuery(query): RawQuery,
) -> Result<Json<DeletedRow>, Problem> {
    let mut all = false;
    for (key, value) in pairs(query.as_deref())? {
        match key.as_str() {
            "all" => all = flag(&key, &value)?,
            _ => return Err(unknown(&key, "all=true")),
        }
    }
    Ok(Json(api.node.delete(&hash, all).await?))
}

fn unseen(hash: &str) -> Problem {
    let hash: String = hash.chars().take(100).collect();
    Problem::new(StatusCode::NOT_FOUND, "Not found", format!("no sighting of `{hash}` is held here"))
}

/// What a query asks for.
fn filter(query: Option<&str>) -> Result<Filter, Problem> {
    let mut filter = Filter::new();
    let (mut limit, mut numbers) = (None, false);
    for (key, value) in pairs(query)? {
        let seconds = || {
            let seconds = value.parse::<f64>().ok().filter(|seconds| seconds.is_finite());
            seconds.ok_or_else(|| Problem::bad_request(format!("`{key}` is no number of seconds since 1970")))
        };
        filter = match key.as_str() {
            "type" => filter.data_type(value),
            "node" => filter.node(value),
            "hash" => filter.hash(value),
            "since" => filter.since(seconds()?),
            "until" => filter.until(seconds()?),
            "where" => {
                let (field, pattern) = value.split_once('=').ok_or_else(|| {
                    Problem::bad_request(
                        "`where` is written as where=FIELD%3DPATTERN, with * for any run of characters",
                    )
                })?;
                filter.matching(field, pattern)
            }
            "local" => filter.local(flag(&key, &value)?),
            "after" => filter.after(value),
            "limit" => {
                let given = value.parse::<usize>().ok().filter(|given| (1..=MAX_FOUND).contains(given));
                limit = Some(
                    given.ok_or_else(|| Problem::bad_request(format!("`limit` is a number from 1 to {MAX_FOUND}")))?,
                );
                filter
            }
            "with_embedding" => {
                numbers = flag(&key, &value)?;
                filter
            }
            _ => {
                return Err(unknown(
                    &key,
                    "type, node, hash, since, until, where, local, after, limit, with_embedding",
                ));
            }
        };
    }
    if numbers && limit.is_some_and(|limit| limit > MAX_FOUND_WITH_NUMBERS) {
        let detail =
            format!("with the numbers of embeddings at most {MAX_FOUND_WITH_NUMBERS} come at once; `after` goes on");
        return Err(Problem::bad_request(detail));
    }
    filter = filter.with_embedding(numbers);
    Ok(match limit {
        Some(limit) => filter.limit(limit),
        None => filter,
    })
}

fn flag(key: &str, value: &str) -> Result<bool, Problem> {
    match value {
        "" | "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Problem::bad_request(format!("`{key}` is true or false"))),
    }
}

fn unknown(key: &str, known: &str) -> Problem {
    let key: String = key.chars().take(60).collect();
    Problem::bad_request(format!("`{key}` is no parameter here; there is {known}"))
}

/// The parameters of a query, decoded (WHATWG URL, application/x-www-form-urlencoded).
fn pairs(query: Option<&str>) -> Result<Vec<(String, String)>, Problem> {
    let parts = query.unwrap_or_default().split('&').filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let bad = || Problem::bad_request("the query is no percent-encoded UTF-8 text");
            Ok((decoded(key).ok_or_else(bad)?, decoded(value).ok_or_else(bad)?))
        })
        .collect()
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        rest = behind;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => {
                let (digits, behind) = rest.split_at_checked(2)?;
                let digits =
                    str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                rest = behind;
            }
            plain => bytes.push(*plain),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_which_sightings_are_wanted_and_a_wrong_one_what_there_is() {
        let wanted = Filter::new()
            .data_type("person")
            .node("cam 1")
            .since(1.5)
            .matching("camera.zone", "A*=1")
            .local(true)
            .limit(1_024)
            .with_embedding(true);
        let query = "type=person&node=cam+1&since=1.5&where=camera.zone%3DA*%3D1&local&limit=1024&with_embedding=true";
        assert_eq!(filter(Some(query)), Ok(wanted));
        assert_eq!(filter(None), Ok(Filter::new()));
        for (query, said) in [
            ("colour=red", "`colour` is no parameter here; there is type"),
            ("since=yesterday", "`since` is no number of seconds"),
            ("since=inf", "`since` is no number of seconds"),
            ("where=camera", "where=FIELD%3DPATTERN"),
            ("limit=0", "from 1 to 4096"),
            ("limit=4097", "from 1 to 4096"),
            ("limit=1025&with_embedding", "at most 1024 come at once"),
            ("local=perhaps", "`local` is true or false"),
            ("type=%zz", "no percent-encoded"),
            ("type=%ff", "no percent-encoded"),
            ("type=%+1", "no percent-encoded"),
            ("type=%4", "no percent-encoded"),
        ] {
            let problem = filter(Some(query)).expect_err(query);
            assert!(problem.detail().contains(said), "{query}: {problem:?}");
        }
    }
}
