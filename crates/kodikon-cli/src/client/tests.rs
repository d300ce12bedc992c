//! What the client makes of URLs and answers.

use std::net::TcpListener;
use std::thread;

use super::*;

/// Answers one connection with these bytes, and gives back what was asked.
fn answering(bytes: &'static str) -> (Client, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let authority = listener.local_addr().expect("bound").to_string();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a caller");
        let mut asked = String::new();
        let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
        while let Ok(Some(line)) = read_line(&mut reader) {
            if line.is_empty() {
                break;
            }
            asked.push_str(&line);
            asked.push('\n');
        }
        stream.write_all(bytes.as_bytes()).expect("the caller reads");
        asked
    });
    (Client { authority, base: String::new(), token: Some("secret".into()) }, server)
}

#[test]
fn an_answer_is_read_to_its_length_and_the_token_is_shown() {
    let (client, server) = answering("HTTP/1.0 200 OK\r\ncontent-LENGTH: 2\r\n\r\n[]");
    assert_eq!(client.get("/v1/peers"), Ok(Value::Array(Vec::new())));
    let asked = server.join().expect("no panic");
    assert!(asked.starts_with("GET /v1/peers HTTP/1.0\nHost: 127.0.0.1:"), "{asked}");
    assert!(asked.contains("\nAuthorization: Bearer secret\n"), "{asked}");
}

#[test]
fn bad_answers_are_failures_and_each_says_which() {
    for (bytes, expected) in [
        ("", "the node stopped just now"),
        ("SSH-2.0-OpenSSH\r\n", "does not speak HTTP"),
        ("HTTP/1.0 200 OK\r\n", "does not speak HTTP"),
        ("HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\n[]", "incomplete"),
        ("HTTP/1.0 200 OK\r\n\r\n<html>", "not JSON"),
        ("HTTP/1.0 500 Oops\r\n\r\n", "HTTP status 500"),
        (
            "HTTP/1.0 404 Not Found\r\n\r\n{\"title\":\"No such peer\",\"detail\":\"cam9 is not here\"}",
            "No such peer: cam9 is not here",
        ),
    ] {
        let (client, server) = answering(bytes);
        match client.get("/") {
            Err(Failure::Undone(said)) => assert!(said.contains(expected), "{bytes:?}: {said}"),
            other => panic!("{bytes:?}: {other:?}"),
        }
        server.join().expect("no panic");
    }
}

#[test]
fn a_wrong_request_is_wrong_usage_and_a_silent_port_is_no_node() {
    let (client, server) = answering("HTTP/1.0 400 Bad Request\r\n\r\n{\"title\":\"Wrong key\"}");
    assert_eq!(client.get("/"), Err(Failure::Usage("Wrong key".into())));
    server.join().expect("no panic");
    let (too_long, server) = answering("HTTP/1.0 422 Unprocessable Entity\r\n\r\n{\"title\":\"Refused\"}");
    assert_eq!(too_long.get("/"), Err(Failure::Usage("Refused".into())));
    server.join().expect("no panic");
    assert!(matches!(client.get("/"), Err(Failure::NoNode(_))), "nobody listens any more");
}

#[test]
fn events_are_the_data_lines_of_the_stream() {
    let (client, server) =
        answering("HTTP/1.0 200 OK\r\n\r\n: hello\n\nid: 7\nevent: state\ndata: {\"event\":\"state\"}\n\n");
    let mut events = client.events("/v1/events").expect("a stream");
    assert_eq!(events.next(), Ok(Some("{\"event\":\"state\"}".into())));
    assert_eq!(events.next(), Ok(None));
    server.join().expect("no panic");
}

#[test]
fn a_url_is_a_host_with_a_port_and_perhaps_a_path() {
    for (url, expected) in [
        ("http://127.0.0.1:8888", Some(("127.0.0.1:8888", ""))),
        ("http://127.0.0.1:8888/", Some(("127.0.0.1:8888", ""))),
        ("127.0.0.1:8888", Some(("127.0.0.1:8888", ""))),
        ("http://[::1]:8888/mesh/", Some(("[::1]:8888", "/mesh"))),
        ("http://camera", Some(("camera:80", ""))),
        ("http://[::1]", Some(("[::1]:80", ""))),
        ("http://camera:99999", None),
        ("http://camera:0", None),
        ("http://camera:", None),
        ("https://camera", None),
        ("http://", None),
        ("http://a b:1", None),
        ("http://a:1/x\r\nEvil: 1", None),
        ("http://user@a:1", None),
    ] {
        let found = split_url(url).ok();
        let found = found.as_ref().map(|(authority, base)| (authority.as_str(), base.as_str()));
        assert_eq!(found, expected, "{url}");
    }
}

#[test]
fn a_name_becomes_one_segment_of_a_path() {
    assert_eq!(segment("cam-1@a3f0"), "cam-1@a3f0");
    assert_eq!(segment("a/b ü?"), "a%2Fb%20%C3%BC%3F");
}

/// A folder with the `api.json` of a node, and with a lock that says so if it runs.
fn folder(name: &str, client: &Client, lock: Option<&str>) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("kodikon-client-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("the temporary folder is writable");
    let token = client.token.clone().expect("it has one");
    let file = ApiFile { url: format!("http://{}", client.authority), token, pid: 7 };
    std::fs::write(dir.join("api.json"), serde_json::to_string(&file).expect("texts")).expect("writable");
    if let Some(lock) = lock {
        std::fs::write(dir.join("lock"), lock).expect("writable");
    }
    dir
}

#[test]
fn the_file_of_a_node_that_has_ended_leads_nobody_to_whoever_has_its_port_now() {
    let fine = "HTTP/1.0 200 OK\r\n\r\n{\"status\":\"ok\"}";
    let (stranger, asked_at_last) = answering("HTTP/1.0 404 Not Found\r\n\r\n");
    let (unlocked, asked_stranger) = answering("HTTP/1.0 401 Unauthorized\r\n\r\n<html>");
    let (copied, asked_node) = answering(fine);
    let dirs = [
        // Ended: not even called.
        folder("ended", &stranger, Some("7\n")),
        // Without a lock: asked who it is, and it is no node.
        folder("other", &unlocked, None),
        // The same, and it is one.
        folder("copied", &copied, None),
    ];
    let found = Client::among(&dirs, None).expect("the last one");
    assert_eq!((&found.authority, found.token.as_deref()), (&copied.authority, Some("secret")));
    for asked in [asked_stranger, asked_node] {
        let asked = asked.join().expect("no panic");
        assert!(asked.starts_with("GET /healthz ") && !asked.contains("secret"), "a stranger reads no token: {asked}");
    }
    // Of one that runs the lock is held; so it is where another run has the same pid, as in a container.
    let held = std::fs::File::open(dirs[0].join("lock")).expect("written");
    held.lock().expect("nobody holds it");
    assert!(matches!(Client::among(&dirs[..1], None), Err(Failure::NoNode(_))), "another has its port");
    let asked = asked_at_last.join().expect("no panic");
    assert!(asked.starts_with("GET /healthz ") && !asked.contains("secret"), "a stranger reads no token: {asked}");
    let (running, _) = answering(fine);
    folder("ended", &running, None);
    let found = Client::among(&dirs, None).expect("it runs");
    assert_eq!((&found.authority, found.token.as_deref()), (&running.authority, Some("secret")));
    let (mute, _) = answering("");
    folder("ended", &mute, None);
    assert!(matches!(Client::among(&dirs, None), Err(Failure::Undone(_))), "it runs and does not answer");
    drop(held);
    assert!(matches!(Client::among(&dirs[..1], None), Err(Failure::NoNode(_))));
    // Nor does --api show the token of a run that has ended.
    let found = Client::among(&dirs[..1], Some(&mute.authority)).expect("a right address");
    assert_eq!(found.token, None);
    dirs.iter().for_each(|dir| std::fs::remove_dir_all(dir).expect("ours"));
}
