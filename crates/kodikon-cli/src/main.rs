//! The `kodikon` command.

#![forbid(unsafe_code)]

fn main() {}
