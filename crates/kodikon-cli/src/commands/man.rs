//! `man`: the manual, made from the same definition as the command line itself.

use std::fs;
use std::path::Path;

use clap::{Command, CommandFactory as _};
use clap_mangen::Man;

use crate::args::Args;
use crate::outcome::{Done, Failure};
use crate::print;

pub(crate) fn run(dir: Option<&Path>) -> Result<Done, Failure> {
    let mut command = Args::command();
    command.build();
    match dir {
        None => print::text(&String::from_utf8_lossy(&page(&Man::new(command))?))?,
        Some(dir) => {
            fs::create_dir_all(dir).map_err(|error| Failure::Undone(format!("{}: {error}", dir.display())))?;
            write(&command, dir)?;
        }
    }
    Ok(Done::Well)
}

/// Writes the page of a command and of all below it: `kodikon-state-set.1`.
fn write(command: &Command, dir: &Path) -> Result<(), Failure> {
    let man = Man::new(command.clone());
    let path = dir.join(man.get_filename());
    fs::write(&path, page(&man)?).map_err(|error| Failure::Undone(format!("{}: {error}", path.display())))?;
    command.get_subcommands().try_for_each(|below| write(below, dir))
}

fn page(man: &Man) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    man.render(&mut text).map_err(|error| Failure::Undone(format!("cannot make the page: {error}")))?;
    Ok(text)
}
