//! Keeps the house: which floor may call which, how long things may grow, and whether the papers speak of what exists.
//!
//! Every rule is a function from text to complaints, shown by a test of its own to complain about a bad string; then it
//! is applied to the whole tree. A complaint names the place and what to do.
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "what the core may not do, its watchman must")]

mod imports;
mod papers;
mod source;
mod tidy;

use std::path::{Path, PathBuf};

use source::Source;

/// Where the workspace begins.
fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).expect("the crate lies two folders below the root").to_path_buf()
}

/// Every Rust file of the repository, ours and the fuzz targets', in the order of its path.
fn tree() -> Vec<Source> {
    let root = root();
    let mut paths = Vec::new();
    collect(&root, &mut paths);
    paths.sort();
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let relative = path.strip_prefix(&root).expect("found below the root").to_string_lossy().replace('\\', "/");
        Source::new(&relative, text)
    };
    paths.iter().map(read).collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let entry = entry.expect("a folder of the tree can be listed");
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.file_type().expect("a file of the tree has a type");
        if kind.is_dir() && name != "target" && !name.starts_with('.') {
            collect(&entry.path(), paths);
        } else if kind.is_file() && name.ends_with(".rs") {
            paths.push(entry.path());
        }
    }
}

/// Fails with every complaint at once: who tidies wants the whole list.
fn expect_none(complaints: &[String]) {
    assert!(complaints.is_empty(), "{} complaints:\n  {}\n", complaints.len(), complaints.join("\n  "));
}
