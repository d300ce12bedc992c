//! `key new`: a mesh key into a file of its own, or to stdout for a pipe.

use std::path::Path;

use kodikon::mesh_key::{MeshKey, MeshKeyError};
use serde_json::json;

use crate::args::Common;
use crate::outcome::{Done, Failure};
use crate::print;

pub(crate) fn new(common: &Common, file: Option<&Path>) -> Result<Done, Failure> {
    let key = MeshKey::generate().map_err(failure)?;
    let Some(path) = file else {
        let text = key.to_text();
        if common.json {
            print::json(&json!({"key": text.trim_end()}))?
        } else {
            print::text(&text)?
        }
        return Ok(Done::Well);
    };
    key.write_new(path).map_err(failure)?;
    if common.json {
        print::json(&json!({"file": path.display().to_string()}))?;
    } else {
        eprintln!(
            "{}: a new mesh key. Give every node of the mesh this file: kodikon up --mesh-key FILE",
            path.display()
        );
    }
    Ok(Done::Well)
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err passes")]
fn failure(error: MeshKeyError) -> Failure {
    Failure::Undone(error.to_string())
}
