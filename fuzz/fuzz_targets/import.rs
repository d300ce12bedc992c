//! Any file is rows of numbers or a reason, and any line a sighting within its limits or a reason; neither is half a one.

#![no_main]

#[path = "../../crates/kodikon-cli/src/npy.rs"]
#[allow(dead_code, reason = "only the reader is asked")]
mod npy;

use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;

use kodikon::Record;
use kodikon::api::RecordDoc;
use libfuzzer_sys::fuzz_target;

/// Rows that are read of one file: the others are like them.
const ROWS: u64 = 16;

thread_local! {
    static FILE: RefCell<PathBuf> = {
        let memory = PathBuf::from("/dev/shm");
        let directory = if memory.is_dir() { memory } else { std::env::temp_dir() };
        RefCell::new(directory.join(format!("kodikon-import-{}.npy", std::process::id())))
    };
}

fuzz_target!(|bytes: &[u8]| {
    let Some((what, rest)) = bytes.split_first() else { return };
    if what & 1 == 0 {
        FILE.with_borrow(|path| rows(path, *what, rest));
    } else if let Ok(text) = str::from_utf8(rest) {
        text.lines().for_each(line);
    }
});

fn rows(path: &std::path::Path, what: u8, bytes: &[u8]) {
    // With a head that is one, every second time: what lies behind it is reached, too.
    let head = format!(
        "{{'descr': '<f{}', 'fortran_order': False, 'shape': ({}, {}), }}\n",
        4 + 4 * (what >> 7),
        what >> 4 & 7,
        what >> 1 & 7
    );
    let length = u16::try_from(head.len()).expect("a short head");
    let file = if what & 8 == 0 {
        bytes.to_vec()
    } else {
        [b"\x93NUMPY\x01\x00", &length.to_le_bytes()[..], head.as_bytes(), bytes].concat()
    };
    fs::write(path, file).expect("there is room");
    if let Ok(mut rows) = npy::Rows::open(path) {
        let count = rows.len();
        let widths: Vec<usize> =
            (0..count.min(ROWS)).map(|row| rows.row(row).expect("as long as it says").len()).collect();
        assert!(widths.iter().all(|width| *width == widths[0]));
        assert!(rows.row(count).is_err(), "there is none behind the last");
    }
}

fn line(text: &str) {
    let Ok(doc) = serde_json::from_str::<RecordDoc>(text) else { return };
    let Ok(record) = Record::try_from(doc) else { return };
    // What is refused is refused with its reason, whatever it is.
    if let Err(reason) = record.check() {
        assert!(!reason.to_string().is_empty());
    }
}
