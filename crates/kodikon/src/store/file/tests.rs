//! What a data directory keeps, and what it says when it cannot.

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU32, Ordering};

use super::super::MemoryStore;
use super::*;

#[test]
fn identity_is_made_once_and_only_the_owner_reads_it() {
    let place = Place::new();
    let first = FileStore::open(&place.0).unwrap().identity().unwrap();
    let again = FileStore::open(&place.0).unwrap().identity().unwrap();
    assert_eq!(first, again);
    assert_ne!(first.0, [0; 32]);
    assert_eq!(mode(&place.0.join(IDENTITY)), 0o600);
    assert_eq!(mode(&place.0), 0o700);
    assert_eq!(format!("{first:?}"), "IdentitySeed(..)", "a log must not hold the key");
}

#[test]
fn an_epoch_is_greater_than_all_before_and_than_those_a_backup_forgot() {
    let place = Place::new();
    let mut memory = MemoryStore::new();
    let mut file = FileStore::open(&place.0).unwrap();
    for store in [&mut memory as &mut dyn Store, &mut file] {
        assert_eq!([(); 2].map(|()| store.next_epoch().unwrap()), [1, 2], "{store:?}");
        store.raise_epoch(41).unwrap();
        store.raise_epoch(7).unwrap();
        assert_eq!(store.next_epoch().unwrap(), 42);
    }
    drop(file);
    let mut file = FileStore::open(&place.0).unwrap();
    for store in [&mut memory as &mut dyn Store, &mut file] {
        assert_eq!(store.next_epoch().unwrap(), 43, "also after a restart");
        store.raise_epoch(u32::MAX).unwrap();
        assert!(matches!(store.next_epoch(), Err(StoreError::EpochsUsedUp)));
    }
}

#[test]
fn an_identity_given_away_to_a_clone_does_not_come_back() {
    let place = Place::new();
    let new = IdentitySeed([7; 32]);
    let mut store = FileStore::open(&place.0).unwrap();
    assert_ne!(store.identity().unwrap(), new);
    store.replace_identity(&new).unwrap();
    drop(store);
    assert_eq!(FileStore::open(&place.0).unwrap().identity().unwrap(), new);
    assert_eq!(mode(&place.0.join(IDENTITY)), 0o600);
}

#[test]
fn what_was_saved_is_loaded_and_what_was_not_is_none() {
    let place = Place::new();
    let mut memory = MemoryStore::new();
    let mut file = FileStore::open(&place.0).unwrap();
    for store in [&mut memory as &mut dyn Store, &mut file] {
        assert_eq!(store.load("state.json").unwrap(), None);
        for bytes in [&b"{}"[..], b"", b"longer than before"] {
            store.save("state.json", bytes).unwrap();
            assert_eq!(store.load("state.json").unwrap().as_deref(), Some(bytes));
        }
    }
}

#[test]
fn names_that_leave_the_directory_or_hit_our_own_files_are_refused() {
    let place = Place::new();
    let mut store = FileStore::open(&place.0).unwrap();
    let long = "a".repeat(65);
    for name in
        ["", ".", "..", "../x", "a/b", ".hidden", "A", "a b", "ü", &long, "lock", "format", "epoch", "identity.key"]
    {
        assert!(matches!(store.save(name, b"x"), Err(StoreError::Refused { .. })), "{name:?}");
    }
    for name in ["a", "state.json", "directory-2.json", &long[..64]] {
        store.save(name, b"x").unwrap();
    }
    assert!(matches!(store.save("big", &vec![0; FILE_MAX + 1]), Err(StoreError::Refused { .. })));
}

#[test]
fn a_directory_in_use_names_the_pid_and_is_free_again_afterwards() {
    let place = Place::new();
    let held = FileStore::open(&place.0).unwrap();
    let error = FileStore::open(&place.0).unwrap_err();
    let own = std::process::id();
    assert!(matches!(error, StoreError::Locked { pid: Some(pid), .. } if pid == own), "{error}");
    assert!(error.to_string().contains(&format!("pid {own}")) && error.to_string().contains("--in-memory"), "{error}");
    drop(held);
    FileStore::open(&place.0).unwrap();
}

#[test]
fn a_child_being_started_does_not_keep_a_closed_directory_locked() {
    let place = Place::new();
    let held = FileStore::open(&place.0).unwrap();
    // What a fork holds until it runs its program: the same open file.
    let inherited = held.lock.try_clone().unwrap();
    drop(held);
    FileStore::open(&place.0).unwrap();
    drop(inherited);
}

#[test]
fn the_second_node_of_a_machine_takes_the_second_directory() {
    let place = Place::new();
    let base = place.0.join("kodikon");
    let stores = [1, 2, 3].map(|_| FileStore::open_first_free(&base).unwrap());
    let names = stores.each_ref().map(|store| store.directory().file_name().unwrap().to_owned());
    assert_eq!(names, ["kodikon", "kodikon-2", "kodikon-3"]);
    let [first, ..] = stores;
    drop(first);
    assert_eq!(FileStore::open_first_free(&base).unwrap().directory(), base);
}

#[test]
fn a_directory_of_a_later_version_is_left_alone() {
    let place = Place::new();
    drop(FileStore::open(&place.0).unwrap());
    std::fs::write(place.0.join(FORMAT_FILE), "2\n").unwrap();
    let error = FileStore::open(&place.0).unwrap_err();
    assert!(matches!(&error, StoreError::UnknownVersion { found, .. } if found == "2"), "{error}");
    assert_eq!(std::fs::read(place.0.join(FORMAT_FILE)).unwrap(), b"2\n");
}

#[test]
fn damage_is_named_with_its_file_and_a_cure() {
    let table: &[(&str, &[u8])] = &[
        (IDENTITY, b""),
        (IDENTITY, &[1; 31]),
        (IDENTITY, &[1; 33]),
        (EPOCH, b""),
        (EPOCH, b"-1"),
        (EPOCH, b"4294967296"),
    ];
    for &(name, content) in table {
        let place = Place::new();
        let mut store = FileStore::open(&place.0).unwrap();
        std::fs::write(place.0.join(name), content).unwrap();
        let error = if name == EPOCH { store.next_epoch().unwrap_err() } else { store.identity().unwrap_err() };
        assert!(matches!(error, StoreError::Damaged { .. }), "{name} {content:?}: {error}");
        assert!(error.to_string().contains(name), "{error}");
        assert_eq!(std::fs::read(place.0.join(name)).unwrap(), content, "damage is not made worse");
    }
}

#[test]
fn a_temporary_file_left_by_a_crash_does_no_harm() {
    let place = Place::new();
    let mut store = FileStore::open(&place.0).unwrap();
    store.save("state.json", b"old").unwrap();
    std::fs::write(place.0.join(".state.json.new"), b"half of the n").unwrap();
    assert_eq!(store.load("state.json").unwrap().as_deref(), Some(&b"old"[..]));
    store.save("state.json", b"new").unwrap();
    assert_eq!(store.load("state.json").unwrap().as_deref(), Some(&b"new"[..]));
    assert!(!place.0.join(".state.json.new").exists());
}

#[test]
fn a_place_that_cannot_be_written_is_told_with_a_way_out() {
    let place = Place::new();
    std::fs::create_dir_all(&place.0).unwrap();
    std::fs::write(place.0.join("file"), b"").unwrap();
    // /proc refuses root too, which a mode of 0500 would not.
    for path in [place.0.join("file"), place.0.join("file/below"), "/proc/kodikon".into()] {
        let error = FileStore::open(&path).unwrap_err();
        assert!(error.to_string().contains("--in-memory"), "{}: {error}", path.display());
    }
}

#[test]
fn what_the_system_says_is_sorted_by_what_to_do() {
    let sorted = |code| StoreError::from_io("x", io::Error::from_raw_os_error(code));
    for code in [libc::ENOSPC, libc::EDQUOT] {
        assert!(matches!(sorted(code), StoreError::Full { .. }), "{code}");
    }
    for code in [libc::EACCES, libc::EPERM, libc::EROFS, libc::ENOTDIR, libc::EEXIST, libc::ENOENT] {
        assert!(matches!(sorted(code), StoreError::NotWritable { .. }), "{code}");
    }
    assert!(matches!(sorted(libc::EIO), StoreError::Io { .. }));
}

#[test]
fn a_full_disk_keeps_the_old_content_and_says_so() {
    // /dev/shm cannot be filled politely; a file system of one block can. Mounting one needs root.
    let place = Place::new();
    std::fs::create_dir_all(&place.0).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64k", "none"])
        .arg(&place.0)
        .output()
        .is_ok_and(|output| output.status.success());
    if !mounted {
        assert_ne!(std::env::var("KODIKON_NETNS").as_deref(), Ok("require"), "cannot mount a tmpfs");
        crate::testing::skipped("mounting a tmpfs needs root");
        return;
    }
    let result = std::panic::catch_unwind(|| {
        let mut store = FileStore::open(&place.0).unwrap();
        store.save("state.json", b"old").unwrap();
        let error = store.save("state.json", &[1; 128 << 10]).unwrap_err();
        assert!(matches!(error, StoreError::Full { .. }), "{error}");
        assert_eq!(store.load("state.json").unwrap().as_deref(), Some(&b"old"[..]));
        store.save("state.json", b"small").expect("the half-written file was removed");
    });
    let unmounted = std::process::Command::new("umount").arg(&place.0).status().unwrap();
    assert!(unmounted.success());
    result.unwrap();
}

/// A path of this test's own, removed at its end.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("kodikon-store-{}-{number}", std::process::id())))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_secret_key_that_others_may_read_or_that_is_gone_is_odd_and_no_error() {
    let place = Place::new();
    let mut store = FileStore::open(&place.0).unwrap();
    assert_eq!(store.doubt(), None, "a new folder");
    let first = store.identity().unwrap();
    store.next_epoch().unwrap();
    let key = place.0.join(IDENTITY);
    for (mode, odd) in [(0o600, false), (0o644, true), (0o620, true), (0o601, true), (0o400, false)] {
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(store.doubt().is_some_and(|doubt| doubt.contains("chmod 600")), odd, "{mode:o}");
    }
    std::fs::remove_file(&key).unwrap();
    assert!(store.doubt().is_some_and(|doubt| doubt.contains("starts as a new one")));
    assert_ne!(store.identity().unwrap(), first);
    assert_eq!(store.doubt(), None);
}
