//! The `kodikon` command.
fn main() {}
