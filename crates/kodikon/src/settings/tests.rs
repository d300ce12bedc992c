//! What the settings promise: precedence, origins, places of errors, and that the seed's file is accepted.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// The seed's `config/defaults.yaml` with the sections that other parts of Kodikon keep in it.
const SEED: &str = "\
camera:
  fps: 30
  format: \"bgr8\"
yolo:
  model: yolov8n
  confidence_threshold: 0.5
power:
  mode: balanced   # \"eco\", \"balanced\", \"performance\"
# Mesh network
mesh:
  broadcast_interval: 5      # Discovery broadcast interval
  heartbeat_timeout: 30      # Peer timeout
  max_peers: 10             # Max tracked peers
  udp_port: 9999            # UDP port
";

/// A folder of its own for a test, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("kodikon-settings-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("the temporary folder is writable");
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> SettingsFile {
        let path = self.0.join(name);
        fs::write(&path, text).expect("the temporary folder is writable");
        SettingsFile { path, required: true }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn load(text: &str) -> Result<Settings, Problems> {
    let folder = Folder::new();
    Settings::load(&Sources { files: vec![folder.file("kodikon.yaml", text)], ..Sources::default() })
}

/// The problems of a text, without the folder.
fn complaints(text: &str) -> Vec<String> {
    let Err(problems) = load(text) else { return Vec::new() };
    let name = |problem: &Problem| {
        let line = problem.to_string();
        line.split_once("kodikon.yaml").map_or(line.clone(), |(_, rest)| rest.to_owned())
    };
    problems.list().iter().map(name).collect()
}

#[test]
fn the_seeds_file_is_accepted_unchanged_and_says_what_ten_peers_mean() {
    let settings = load(SEED).expect("the seed's file");
    assert_eq!(settings.max_peers.value, 10);
    assert_eq!(settings.peer_limit(), 10);
    assert!(matches!(settings.udp_port.origin, Origin::File { line: 14, column: 13, .. }), "{:?}", settings.udp_port);
    let notices: Vec<&str> = settings.notices().iter().map(|notice| notice.text.as_str()).collect();
    assert_eq!(
        notices,
        [
            "not the mesh's, left alone: `camera`, `yolo`, `power`",
            "mesh.max_peers: peer number 11 is refused; remove the line to keep up to 256",
        ]
    );
}

#[test]
fn a_file_that_writes_the_defaults_down_changes_nothing() {
    let page = "mesh:\n  name: kodikon\n  broadcast_interval: 5\n  heartbeat_interval: 5\n  heartbeat_timeout: 30\n  \
                max_peers: 4096\n  udp_port: 9999\n  max_hops: 5\n  profile: lan\nregistry:\n  deletes: all\n";
    let (written, default) = (load(page).expect("a right page"), Settings::default());
    let values = |settings: &Settings| -> Vec<(Key, Value)> {
        settings.rows().into_iter().map(|(key, value, _)| (key, value)).collect()
    };
    assert_eq!(values(&written), values(&default));
    assert_eq!(written.peer_limit(), 256, "an open mesh");
}

#[test]
fn the_page_of_operations_names_every_key_with_its_default_and_its_range() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operations.md");
    let page = fs::read_to_string(page).expect("it is part of the repository");
    let (_, section) = page.split_once("## Configuration").expect("its section");
    let (section, _) = section.split_once("\n## ").expect("another follows");
    let cells = |row: &str| row.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let rows: Vec<Vec<String>> = section.lines().filter(|line| line.starts_with("| `")).map(cells).collect();
    let named: Vec<&str> = rows.iter().map(|row| row[1].trim_matches('`')).collect();
    assert_eq!(named, Key::ALL.map(Key::path));
    for ((key, value, _), row) in Settings::default().rows().into_iter().zip(&rows) {
        match value {
            Value::String(word) => assert_eq!(row[2], format!("`{word}`")),
            Value::Number(number) => assert!(row[2].contains(&number.to_string()), "{row:?}: {number}"),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {}
        }
        // What is refused says what is not.
        let wrong = if key.is_list() { "a:1,".repeat(300) } else { "99999999999".to_owned() };
        let refused = Settings::default().set(key, &wrong).err();
        match refused.iter().flat_map(|problems| problems.list()).map(|problem| &problem.wrong).next() {
            Some(Wrong::Range { high, .. }) if key.is_list() => assert!(row[3].contains(&format!("at most {high}"))),
            Some(Wrong::Range { low, high, .. }) => assert!(row[3].starts_with(&format!("{low} to {high}")), "{row:?}"),
            Some(Wrong::Choice { allowed, .. }) => {
                let mut written: Vec<&str> = row[3].split(", ").map(|word| word.trim_matches('`')).collect();
                let mut allowed: Vec<&str> = allowed.iter().map(String::as_str).collect();
                written.sort_unstable();
                allowed.sort_unstable();
                assert_eq!(written, allowed, "{key}");
            }
            Some(_) | None => {}
        }
    }
}

#[test]
fn the_row_of_max_peers_says_what_counts() {
    for (page, expected) in [
        ("{}", 256),
        ("mesh: {max_peers: 10}", 10),
        ("mesh: {max_peers: 2000}", 256),
        ("mesh: {max_peers: 2000, key: mesh.key}", 2_000),
        ("mesh: {key: mesh.key}", 4_096),
    ] {
        let settings = load(page).expect("a right page");
        let rows = settings.rows();
        let (_, value, _) = rows.iter().find(|(key, _, _)| *key == Key::MaxPeers).expect("all keys have rows");
        assert_eq!(*value, expected, "{page}");
    }
}

#[test]
fn a_key_file_that_others_may_read_is_told() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new();
    let key = folder.file("mesh.key", &format!("{}\n", "0".repeat(64))).path;
    let file = folder.file("kodikon.yaml", "mesh:\n  key: mesh.key\n");
    for (mode, is_told) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true), (0o644, true)] {
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).expect("our own file");
        let settings = Settings::load(&Sources { files: vec![file.clone()], ..Sources::default() });
        let notices: Vec<String> = settings.expect("a right page").notices().iter().map(Notice::to_string).collect();
        assert_eq!(notices.len(), usize::from(is_told), "{mode:o}: {notices:?}");
        assert!(notices.iter().all(|notice| notice.contains("kodikon.yaml:2:8") && notice.contains("chmod 600")));
    }
}

#[test]
fn later_layers_override_earlier_ones_and_each_value_knows_its_own() {
    let folder = Folder::new();
    let low = folder.file("low.yaml", "mesh: {udp_port: 1001, max_hops: 2, profile: eco, name: low}\n");
    let high = folder.file("high.yaml", "mesh:\n  udp_port: 1002\n  max_hops: 3\n  profile: wan\n");
    let absent = SettingsFile { path: folder.0.join("absent.yaml"), required: false };
    let settings = Settings::load(&Sources {
        files: vec![absent, low.clone(), high.clone()],
        environment: vec![
            ("KODIKON_MESH_UDP_PORT".into(), "1003".into()),
            ("KODIKON_MESH_PEERS".into(), "a:1, b:2".into()),
            ("KODIKON_MESH_MAX_HOPS".into(), "4".into()),
            ("HOME".into(), "/".into()),
        ],
        flags: vec![
            Flag { name: "--udp-port", key: Key::UdpPort, values: vec!["1004".into()] },
            Flag { name: "--interface", key: Key::Interfaces, values: vec!["eth0".into(), "wlan0".into()] },
        ],
    })
    .expect("all values are right");
    assert_eq!(settings.udp_port, Setting { value: 1_004, origin: Origin::Flag("--udp-port") });
    let variable = Origin::Environment("KODIKON_MESH_MAX_HOPS".into());
    assert_eq!(settings.max_hops, Setting { value: 4, origin: variable });
    let place = Origin::File { path: high.path, line: 4, column: 12 };
    assert_eq!(settings.profile, Setting { value: Profile::Wan, origin: place });
    assert_eq!(settings.mesh_name.origin, Origin::File { path: low.path, line: 1, column: 57 });
    assert_eq!(settings.peers.value, ["a:1", "b:2"]);
    assert_eq!(settings.interfaces.value, ["eth0", "wlan0"]);
    assert_eq!(settings.heartbeat_timeout.origin, Origin::Default);
}

#[test]
fn every_mistake_names_its_line_and_column_and_what_would_be_right() {
    let table: &[(&str, &[&str])] = &[
        ("", &[]),
        ("# nothing\n", &[]),
        ("mesh:\n", &[]),
        ("mesh:\n  udp_prot: 9999\n", &[":2:3: mesh.udp_prot: unknown key; did you mean `mesh.udp_port`?"]),
        ("mehs:\n  udp_port: 9999\n", &[":1:1: mehs: unknown key; did you mean `mesh`?"]),
        ("udp_port: 9999\n", &[":1:1: udp_port: unknown key; did you mean `mesh.udp_port`?"]),
        (
            "registry:\n  colour: 1\n  deletes: everyone\n",
            &[
                ":2:3: registry.colour: unknown key; known: deletes",
                ":3:12: registry.deletes: is `everyone`; known: all, author",
            ],
        ),
        ("mesh:\n  udp_port: 99999\n", &[":2:13: mesh.udp_port: is 99999; allowed: 1 to 65471"]),
        ("mesh:\n  udp_port: 0\n", &[":2:13: mesh.udp_port: is 0; allowed: 1 to 65471"]),
        ("mesh:\n  udp_port: \"9999\"\n", &[":2:13: mesh.udp_port: must be a whole number, but is the text `9999`"]),
        ("mesh:\n  udp_port: yes\n", &[":2:13: mesh.udp_port: must be a whole number, but is the text `yes`"]),
        ("mesh:\n  max_hops: true\n", &[":2:13: mesh.max_hops: must be a whole number, but is the truth value true"]),
        ("mesh:\n  max_hops:\n", &[":2:11: mesh.max_hops: has no value: give it one, or remove the line"]),
        ("mesh:\n  heartbeat_timeout: 1s\n", &[":2:22: mesh.heartbeat_timeout: is 1 s; allowed: 2s to 1h"]),
        (
            "mesh:\n  heartbeat_timeout: 7\n",
            &[
                ":2:22: mesh.heartbeat_timeout: is 7s, but a peer is heard each 5s (mesh.heartbeat_interval) and profile \
               `lan` lets a suspect answer for 3s: write at least 8s, or lower these",
            ],
        ),
        (
            "mesh:\n  broadcast_interval: 5 parsecs\n",
            &[
                ":2:23: mesh.broadcast_interval: must be a time span: seconds as a number, or text with a unit (`250ms`, \
               `5s`, `2m`, `1h`), but is the text `5 parsecs`",
            ],
        ),
        ("mesh:\n  profile: lam\n", &[":2:12: mesh.profile: is `lam`; did you mean `lan`?"]),
        (
            "mesh:\n  node_id: a b\n",
            &[":2:12: mesh.node_id: is `a b`, but must have 1 to 64 bytes: letters, digits and _ - . : only"],
        ),
        (
            "mesh:\n  peers:\n    - a:1\n    - b\n",
            &[":4:7: mesh.peers: is `b`, but must be HOST:PORT, for example camera7.local:9999, 192.168.1.7:9999 or \
               [fe80::1%eth0]:9999"],
        ),
        ("mesh:\n  peers: a:1\n", &[":2:10: mesh.peers: must be a list of HOST:PORT, but is the text `a:1`"]),
        ("mesh: 3\n", &[":1:7: mesh: must be a section, but is the number 3"]),
        ("- mesh\n", &[":1:1: must hold sections such as `mesh:`, but holds a list"]),
        ("just a text\n", &[":1:1: must hold sections such as `mesh:`, but holds the text `just a text`"]),
    ];
    for (text, expected) in table {
        assert_eq!(complaints(text), *expected, "{text}");
    }
}

#[test]
fn broken_yaml_names_its_place() {
    for (text, place) in
        [("mesh:\n  name: [a\n", ":2:9: is not YAML: unclosed bracket '['"), ("mesh:\n\tname: a\n", ":2:2: ")]
    {
        let found = complaints(text);
        assert!(
            found.len() == 1
                && found[0].starts_with(place)
                && found[0].contains(": is not YAML: ")
                && !found[0].contains(" line "),
            "{text}: {found:?}"
        );
    }
}

#[test]
fn what_yaml_allows_and_a_configuration_does_not_is_said_in_our_own_words() {
    let deep = format!("mesh: {}1{}\n", "[".repeat(40), "]".repeat(40));
    for (text, expected) in [
        ("mesh: {}\nmesh: {}\n", ":2:1: `mesh` stands here a second time in its section: keep one"),
        (
            "mesh:\n  udp_port: 1\n  udp_port: 2\n",
            ":3:3: `udp_port` stands here a second time in its section: keep one",
        ),
        ("mesh: {}\n---\nmesh: {}\n", "a second document begins here (`---`): keep one"),
        (&deep, "is larger or deeper than any configuration: is it the right file?"),
    ] {
        let found = complaints(text);
        assert!(found.len() == 1 && found[0].contains(expected), "{text}: {found:?}");
        assert!(!found[0].contains("Options") && !found[0].contains("budget"), "{found:?}");
    }
}

#[test]
fn a_relative_path_in_a_file_is_meant_from_the_files_folder() {
    let folder = Folder::new();
    let file = folder.file("kodikon.yaml", "mesh:\n  key: mesh.key\ndata_dir: /var/lib/kodikon\n");
    let settings = Settings::load(&Sources { files: vec![file], ..Sources::default() }).expect("right");
    assert_eq!(settings.mesh_key.value, Some(folder.0.join("mesh.key")));
    assert_eq!(settings.data_dir.value, Some(PathBuf::from("/var/lib/kodikon")));
    assert_eq!(settings.peer_limit(), 4_096, "a mesh with a key");
}

#[test]
fn a_named_file_must_be_there_and_of_a_sane_size() {
    let folder = Folder::new();
    let absent = SettingsFile { path: folder.0.join("absent.yaml"), required: true };
    let huge = folder.file("huge.yaml", &"#".repeat(1 << 21));
    let binary = SettingsFile { path: folder.0.clone(), required: true };
    for (file, expected) in
        [(absent, "there is no such file"), (huge, "is larger than 1048576 bytes"), (binary, "cannot be read")]
    {
        let problems = Settings::load(&Sources { files: vec![file], ..Sources::default() }).expect_err("wrong");
        assert!(problems.to_string().contains(expected), "{problems}");
    }
}

#[test]
fn a_bomb_of_aliases_is_an_error_and_not_a_full_memory() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let below = format!("*a{}, ", level - 1).repeat(9);
        text.push_str(&format!("a{level}: &a{level} [{}]\n", below.trim_end_matches(", ")));
    }
    assert_eq!(complaints(&text).len(), 1);
}

#[test]
fn more_mistakes_than_a_page_holds_are_counted() {
    let text = format!("mesh:\n{}", (0..30).map(|n| format!("  unheard_{n}: 1\n")).collect::<String>());
    let problems = load(&text).expect_err("wrong");
    assert_eq!(problems.list().len(), Problems::MAX);
    assert!(problems.to_string().ends_with("and 10 more"), "{problems}");
}

#[test]
fn a_program_sets_values_by_text_and_a_wrong_one_changes_nothing() {
    let mut settings = Settings::default();
    settings.set(Key::HeartbeatInterval, "250ms").expect_err("below the range");
    assert_eq!(settings, Settings::default());
    settings.set(Key::HeartbeatInterval, "1").expect("a second");
    assert_eq!(settings.heartbeat_interval.value, Duration::from_secs(1));
    assert_eq!(settings.heartbeat_interval.origin, Origin::Program);
}
