//! The `kodikon` command: which verb was meant, and what its outcome is to the shell.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::Args;

mod api_file;
mod args;
mod capture;
mod client;
mod commands;
mod daemon;
mod demo;
mod http;
mod node_view;
mod outcome;
mod places;
mod print;

fn main() -> ExitCode {
    // clap exits by itself with 2 on wrong usage and 0 on `--help`, as the contract wants it.
    let args = Args::parse();
    match commands::run(args) {
        Ok(done) => done.into(),
        Err(failure) => {
            eprintln!("{failure}");
            failure.into()
        }
    }
}
