//! `watch`: events as they come, until Ctrl-C or the node's end.

use crate::args::{Common, WatchArgs};
use crate::client::Client;
use crate::event_line;
use crate::outcome::{Done, Failure};
use crate::print;

pub(crate) fn run(common: &Common, args: &WatchArgs) -> Result<Done, Failure> {
    let client = Client::find(&args.node, common.data_dir.as_deref())?;
    let query: Vec<String> = args.types.iter().map(|kind| format!("type={kind}")).collect();
    let path = if query.is_empty() { "/v1/events".to_owned() } else { format!("/v1/events?{}", query.join("&")) };
    let mut events = client.events(&path)?;
    while let Some(event) = events.next()? {
        let line = if common.json { event } else { event_line::human(&event) };
        if !print::line(&line)? {
            return Ok(Done::Well);
        }
    }
    Err(Failure::Undone("the node has stopped".into()))
}
