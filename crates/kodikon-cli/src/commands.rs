//! Hands each verb to its command.

use serde::Deserialize;
use serde_json::Value;

use crate::args::{AlertsVerb, Args, Common, ConfigVerb, KeyVerb, StateVerb, Verb};
use crate::outcome::{Done, Failure};

mod alerts;
mod bench;
mod broadcast;
mod completions;
mod config;
mod decode;
mod doctor;
mod export;
mod import;
mod key;
mod man;
mod peers;
mod progress;
mod records;
mod routes;
mod search;
mod send;
mod state;
mod stats;
mod watch;

/// Does what was asked for.
pub(crate) fn run(args: Args) -> Result<Done, Failure> {
    let common = Common { json: args.json, data_dir: args.data_dir };
    match args.verb {
        Verb::Up(up) => crate::daemon::run(&common, &up),
        Verb::Peers(peers) => peers::run(&common, &peers),
        Verb::Routes(node) => routes::run(&common, &node),
        Verb::State(StateVerb::Get { name, node }) => state::get(&common, &node, name.as_deref()),
        Verb::State(StateVerb::Set { pairs, node }) => state::set(&common, &node, &pairs),
        Verb::State(StateVerb::Unset { keys, node }) => state::unset(&common, &node, &keys),
        Verb::Send(message) => send::run(&common, &message),
        Verb::Broadcast(message) => broadcast::run(&common, &message),
        Verb::Alert(alert) => alerts::raise(&common, &alert),
        Verb::Alerts(alerts) => match &alerts.verb {
            None => alerts::list(&common, &alerts.node),
            Some(AlertsVerb::Ack { id, by, node }) => alerts::acknowledge(&common, node, id, by.as_deref()),
        },
        Verb::Add(add) => records::add(&common, &add),
        Verb::Get(get) => records::get(&common, &get),
        Verb::Find(find) => records::find(&common, &find),
        Verb::Delete(delete) => records::delete(&common, &delete),
        Verb::Import(import) => import::run(&common, &import),
        Verb::Export(export) => export::run(&common, &export),
        Verb::Search(search) => search::run(&common, &search),
        Verb::Watch(watch) => watch::run(&common, &watch),
        Verb::Stats(node) => stats::run(&common, &node),
        Verb::Doctor(node) => doctor::run(&common, &node),
        Verb::Decode(decode) => decode::run(&common, &decode),
        Verb::Demo(demo) => crate::demo::run(&common, &demo),
        Verb::Bench(args) => bench::run(&common, &args),
        Verb::Key(KeyVerb::New { file }) => key::new(&common, file.as_deref()),
        Verb::Config(ConfigVerb::Check { file, config }) => config::check(&common, file.or(config)),
        Verb::Config(ConfigVerb::Show { origin, settings }) => config::show(&common, origin, &settings),
        Verb::Completions { .. } | Verb::Man { .. } if common.json => Err(Failure::Usage(
            "--json: a shell's script and the manual are texts for other programs, there is no JSON of them".to_owned(),
        )),
        Verb::Completions { shell } => completions::run(shell),
        Verb::Man { dir } => man::run(dir.as_deref()),
    }
}

/// What the node is asked for: `body`, and those of the options that were given.
fn with_options<const N: usize>(mut body: Value, options: [(&str, Option<Value>); N]) -> Value {
    for (name, value) in options {
        if let Some(value) = value {
            body[name] = value;
        }
    }
    body
}

/// Reads an answer into the rows this program knows; fields it does not know are no error.
fn understand<'a, T: Deserialize<'a>>(document: &'a Value) -> Result<T, Failure> {
    T::deserialize(document).map_err(|error| {
        Failure::Undone(format!("the node's answer is not understood ({error}): does it run another version?"))
    })
}
