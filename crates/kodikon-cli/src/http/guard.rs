//! Who may call the API: one who names this machine as its host, comes from no foreign web page, and shows the token; a
//! scraper's own opens the metrics alone.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use ring::rand::{SecureRandom as _, SystemRandom};

use super::problem::Problem;
use super::{Api, NodeView};

/// Paths that tell nothing worth hiding.
const OPEN_PATHS: [&str; 2] = ["/healthz", "/readyz"];

/// What a scraper may read with a token of its own.
const METRICS_PATH: &str = "/metrics";

/// What a caller must show: 32 random bytes in hex.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// A new token; none if the system gives no random bytes.
    pub(crate) fn generate() -> Option<Self> {
        let mut bytes = [0u8; 32];
        SystemRandom::new().fill(&mut bytes).ok()?;
        Some(Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// One that was kept; none if that is no text of at least 32 signs.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        let fine = (32..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        fine.then(|| Self(text.to_owned()))
    }

    /// The text that is shown.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Compares in a time that does not tell how much of it was right.
    fn is(&self, shown: &str) -> bool {
        let differing = self.0.bytes().zip(shown.bytes()).fold(0, |sum, (a, b)| sum | (a ^ b));
        self.0.len() == shown.len() && differing == 0
    }
}

/// Lets a request through, or answers it.
pub(crate) async fn check<N: NodeView>(State(api): State<Arc<Api<N>>>, request: Request, next: Next) -> Response {
    let verdict = judge(request.headers(), request.uri().path(), &api.token, api.metrics_token.as_ref());
    match verdict {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn judge(headers: &HeaderMap, path: &str, token: &Token, scraper: Option<&Token>) -> Result<(), Problem> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or(""));
    // A name that points here may have been pointed here by a web page (DNS rebinding): only the machine's own names count.
    let host = text(header::HOST).unwrap_or_default();
    if !is_loopback(host) {
        let detail =
            format!("`{}` is not this machine's loopback: call it by 127.0.0.1, [::1] or localhost", shorten(host));
        return Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, "Wrong host", detail));
    }
    if let Some(origin) = text(header::ORIGIN)
        && origin.strip_prefix("http://") != Some(host)
    {
        let detail = format!("pages of `{}` may not call the node", shorten(origin));
        return Err(Problem::new(StatusCode::FORBIDDEN, "Foreign origin", detail));
    }
    if OPEN_PATHS.contains(&path) {
        return Ok(());
    }
    let shown = text(header::AUTHORIZATION).and_then(|value| {
        let (scheme, shown) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| shown.trim())
    });
    let scraper = scraper.filter(|_| path == METRICS_PATH);
    if shown.is_some_and(|shown| token.is(shown) || scraper.is_some_and(|scraper| scraper.is(shown))) {
        return Ok(());
    }
    let detail = "show the token from `api.json` in the node's data folder: Authorization: Bearer TOKEN";
    Err(Problem::new(StatusCode::UNAUTHORIZED, "No token", detail))
}

/// Whether `HOST[:PORT]` is this machine for itself. The port may differ: behind a tunnel it does.
fn is_loopback(authority: &str) -> bool {
    let (host, rest) = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']').unwrap_or((rest, "-")),
        None => authority.find(':').map_or((authority, ""), |at| authority.split_at(at)),
    };
    let port_fine = rest.is_empty() || rest.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    let ours = host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    port_fine && ours
}

/// What a message repeats of a header.
fn shorten(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use axum::http::HeaderName;

    use super::*;

    fn verdict(headers: &[(HeaderName, &str)], path: &str) -> Option<u16> {
        let token = Token("abc".into());
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().expect("a header"))).collect();
        judge(&headers, path, &token, Some(&Token("metrics".into())))
            .err()
            .map(|problem| problem.into_response().status().as_u16())
    }

    #[test]
    fn only_the_machine_itself_with_the_token_and_from_no_page_comes_in() {
        use header::{AUTHORIZATION, HOST, ORIGIN};
        let (host, token) = ((HOST, "127.0.0.1:8888"), (AUTHORIZATION, "Bearer abc"));
        type Row<'a> = (&'a [(HeaderName, &'a str)], &'a str, Option<u16>);
        let table: &[Row<'_>] = &[
            (&[host.clone(), token.clone()], "/v1/peers", None),
            (&[(HOST, "localhost:9000"), token.clone()], "/v1/peers", None),
            (&[(HOST, "[::1]:8888"), (AUTHORIZATION, "bearer  abc")], "/v1/peers", None),
            (from_ref(&token), "/v1/peers", Some(421)),
            (&[(HOST, "evil.example:8888"), token.clone()], "/v1/peers", Some(421)),
            (&[(HOST, "127.0.0.1.evil.example"), token.clone()], "/v1/peers", Some(421)),
            (&[(HOST, "localhost:8888:evil"), token.clone()], "/v1/peers", Some(421)),
            (&[(HOST, "[::1"), token.clone()], "/v1/peers", Some(421)),
            (&[(HOST, "192.168.1.7:8888"), token.clone()], "/healthz", Some(421)),
            (&[host.clone(), token.clone(), (ORIGIN, "http://127.0.0.1:8888")], "/v1/peers", None),
            (&[host.clone(), token.clone(), (ORIGIN, "http://evil.example")], "/v1/peers", Some(403)),
            (&[host.clone(), token.clone(), (ORIGIN, "http://127.0.0.1:80")], "/v1/peers", Some(403)),
            (&[host.clone(), token.clone(), (ORIGIN, "null")], "/v1/peers", Some(403)),
            (from_ref(&host), "/v1/peers", Some(401)),
            (&[host.clone(), (AUTHORIZATION, "Bearer abd")], "/v1/peers", Some(401)),
            (&[host.clone(), (AUTHORIZATION, "Bearer ab")], "/v1/peers", Some(401)),
            (&[host.clone(), (AUTHORIZATION, "Bearer abcd")], "/v1/peers", Some(401)),
            (&[host.clone(), (AUTHORIZATION, "Bearer ")], "/metrics", Some(401)),
            (&[host.clone(), (AUTHORIZATION, "Bearer abc")], "/metrics", None),
            (&[host.clone(), (AUTHORIZATION, "Bearer metrics")], "/metrics", None),
            (&[host.clone(), (AUTHORIZATION, "Bearer metrics")], "/metrics/", Some(401)),
            (&[host.clone(), (AUTHORIZATION, "Bearer metrics")], "/v1/stats", Some(401)),
            (&[(HOST, "evil.example"), (AUTHORIZATION, "Bearer metrics")], "/metrics", Some(421)),
            (&[host.clone(), (AUTHORIZATION, "Basic abc")], "/v1/peers", Some(401)),
            (from_ref(&host), "/healthz", None),
            (from_ref(&host), "/readyz", None),
            (from_ref(&host), "/healthz/", Some(401)),
        ];
        for (headers, path, expected) in table {
            assert_eq!(verdict(headers, path), *expected, "{path} {headers:?}");
        }
    }

    #[test]
    fn a_token_is_64_hex_digits_of_its_own_and_not_in_its_debug_text() {
        let (one, other) = (Token::generate().expect("random bytes"), Token::generate().expect("random bytes"));
        assert_ne!(one, other);
        assert_eq!(one.as_str().len(), 64);
        assert_eq!(format!("{one:?}"), "Token(…)");
    }
}
