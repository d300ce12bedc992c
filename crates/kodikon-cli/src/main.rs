//! The `kodikon` command: which verb was meant, and what its outcome is to the shell.

#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;

use crate::args::Args;
use crate::log_writer::LogWriter;

mod api_file;
mod args;
mod capture;
mod client;
mod commands;
mod daemon;
mod demo;
mod event_line;
mod http;
mod json_log;
mod log_writer;
mod metrics_token;
mod moment;
mod node_view;
mod npy;
mod outcome;
mod places;
mod print;
mod printer;
mod span;
mod tips;

/// How long the last lines may take to be read; a reader that stopped reading must not keep anything from ending.
const LAST_WORDS: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    // clap exits by itself with 2 on wrong usage and 0 on `--help`, as any verb does.
    let words = || std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    let args = Args::try_parse().unwrap_or_else(|error| tips::guess(error, words()).exit());
    match commands::run(args) {
        Ok(done) => done.into(),
        Err(failure) => {
            say(&failure.to_string());
            failure.into()
        }
    }
}

/// Tells why it ended, on stderr; if nobody reads there, not for long.
fn say(text: &str) {
    match LogWriter::for_last_words() {
        Ok(log) => {
            log.say(tracing::Level::ERROR, text);
            log.flush(LAST_WORDS);
        }
        Err(_) => eprintln!("{text}"),
    }
}
