//! `completions`: a shell's script, made from the same definition as the command line itself.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::args::Args;
use crate::outcome::{Done, Failure};
use crate::print;

pub(crate) fn run(shell: Shell) -> Result<Done, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "kodikon", &mut script);
    print::text(&String::from_utf8_lossy(&script))?;
    Ok(Done::Well)
}
