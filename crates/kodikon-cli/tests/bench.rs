//! `bench` measures two living nodes and leaves nothing behind, however it ends.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

/// A data folder of a test's own.
struct Home(PathBuf);

impl Home {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("kodikon-bench-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let home = Self(std::env::temp_dir().join(name));
        std::fs::create_dir_all(&home.0).expect("a folder of its own");
        home
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn bench(data_dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kodikon"));
    command.arg("bench").args(arguments).arg("--data-dir").arg(data_dir).env_clear().env("HOME", "/nonexistent");
    command.output().expect("it runs")
}

#[test]
fn all_is_measured_and_nothing_is_left_behind() {
    let home = Home::new();
    let done = bench(&home.0, &["--records", "300", "--samples", "5", "--json"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let rows: Vec<Value> = serde_json::from_slice(&done.stdout).expect("a list of rows");
    assert_eq!(rows.len(), 8);
    for row in &rows {
        let [p50, p99] = ["p50", "p99"].map(|name| row[name].as_f64().expect("a number"));
        assert!(p50 > 0.0 && p99 >= p50, "{row}");
        let samples = if row["unit"] == "1/s" || row["what"].as_str().is_some_and(|what| what.starts_with("all")) {
            1
        } else {
            5
        };
        assert_eq!(row["samples"], samples, "{row}");
    }
    assert_eq!(std::fs::read_dir(&home.0).expect("it is there").count(), 0);
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let home = Home::new();
    let file = home.0.join("file");
    std::fs::write(&file, "").expect("a file");
    let refused = bench(&file, &["--records", "300"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("file"), "{refused:?}");
}
