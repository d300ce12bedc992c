//! `config`: what the configuration says, where each value comes from, and what is wrong with it.

use std::path::PathBuf;

use kodikon::settings::{Key, Origin, Problem, Settings};
use serde_json::{Map, Value, json};

use crate::args::{Common, SettingsArgs};
use crate::outcome::{Done, Failure};
use crate::places;
use crate::print::{self, Tone};

/// Checks, and exits with 2 where something is wrong.
pub(crate) fn check(common: &Common, file: Option<PathBuf>) -> Result<Done, Failure> {
    let args = SettingsArgs { config: file, ..SettingsArgs::default() };
    let settings = places::read_settings(&args, common.data_dir.as_deref());
    let settings = match settings.and_then(|settings| settings.read_mesh_key().map(|_| settings)) {
        Ok(settings) => settings,
        Err(problems) => {
            if common.json {
                let list: Vec<Value> = problems.list().iter().map(problem).collect();
                print::json(&json!({"ok": false, "problems": list, "more": problems.more()}))?;
            }
            return Err(Failure::Usage(problems.to_string()));
        }
    };
    if common.json {
        let notices: Vec<Value> = settings.notices().iter().map(|notice| json!(notice.to_string())).collect();
        print::json(&json!({"ok": true, "notices": notices}))?;
    } else {
        tell(&settings);
        print::text("the configuration is right\n")?;
    }
    Ok(Done::Well)
}

/// What is wrong with a setting, for programs; with file, line and column where it stands in one.
fn problem(problem: &Problem) -> Value {
    let mut row =
        json!({"origin": problem.origin.to_string(), "key": problem.key, "message": problem.wrong.to_string()});
    if let Origin::File { path, line, column } = &problem.origin {
        row["file"] = json!(path.display().to_string());
        // The whole file is meant where there is no line.
        if *line > 0 {
            (row["line"], row["column"]) = (json!(line), json!(column));
        }
    }
    row
}

/// Shows the values, as YAML or with their origins.
pub(crate) fn show(common: &Common, origin: bool, args: &SettingsArgs) -> Result<Done, Failure> {
    let settings = places::load_settings(args, common.data_dir.as_deref())?;
    let rows = settings.rows();
    match (common.json, origin) {
        (true, true) => {
            let row = |(key, value, origin): &(Key, Value, &Origin)| json!({"key": key.path(), "value": value, "origin": origin.to_string()});
            print::json(&rows.iter().map(row).collect::<Vec<_>>())?;
        }
        (true, false) => print::json(&nested(&rows))?,
        (false, true) => {
            let row = |(key, value, origin): &(Key, Value, &Origin)| {
                let tone = if **origin == Origin::Default { Tone::Faint } else { Tone::Plain };
                (tone, vec![key.to_string(), value.to_string(), origin.to_string()])
            };
            print::table(&["key", "value", "origin"], &rows.iter().map(row).collect::<Vec<_>>())?;
        }
        (false, false) => print::text(&yaml(&rows))?,
    }
    if !common.json {
        tell(&settings);
    }
    Ok(Done::Well)
}

/// Tells what is odd but no error.
fn tell(settings: &Settings) {
    for notice in settings.notices() {
        eprintln!("{notice}");
    }
}

/// The values by section.
fn nested(rows: &[(Key, Value, &Origin)]) -> Value {
    let mut top = Map::new();
    for (key, value, _) in rows {
        match key.path().split_once('.') {
            None => {
                top.insert(key.path().to_owned(), value.clone());
            }
            Some((section, leaf)) => {
                let inside = top.entry(section).or_insert_with(|| Value::Object(Map::new()));
                if let Value::Object(inside) = inside {
                    inside.insert(leaf.to_owned(), value.clone());
                }
            }
        }
    }
    Value::Object(top)
}

/// The values as a file that says the same; what is unset is left out. JSON texts and lists are YAML, too.
fn yaml(rows: &[(Key, Value, &Origin)]) -> String {
    let mut text = String::new();
    let mut open = "";
    for (key, value, _) in rows.iter().filter(|(_, value, _)| !value.is_null()) {
        match key.path().split_once('.') {
            None => text.push_str(&format!("{key}: {value}\n")),
            Some((section, leaf)) => {
                if section != open {
                    text.push_str(&format!("{section}:\n"));
                    open = section;
                }
                text.push_str(&format!("  {leaf}: {value}\n"));
            }
        }
    }
    text
}
