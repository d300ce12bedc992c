//! What the command line says and how it exits, word by word: help of every verb, mistakes, and configuration errors.
//!
//! `TRYCMD=overwrite cargo test -p kodikon-cli --test command_line` writes what it says now; read the difference before you commit it.

#[test]
fn help_mistakes_and_exit_codes_are_as_written() {
    // An absent home: nothing that this machine is configured with takes part.
    trycmd::TestCases::new()
        .env("HOME", "/nonexistent")
        .env("XDG_CONFIG_HOME", "/nonexistent")
        .env("XDG_DATA_HOME", "/nonexistent")
        .env("NO_COLOR", "1")
        .env("COLUMNS", "100")
        .case("tests/snapshots/*.trycmd");
}
