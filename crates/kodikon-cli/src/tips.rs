//! Decides which verb was probably meant by one that there is not, where clap has no guess: it takes no two swapped letters of three.

use clap::CommandFactory as _;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::args::Args;

/// The error, with a verb that is near.
pub(crate) fn guess(error: clap::Error, words: impl Iterator<Item = String>) -> clap::Error {
    let mut error = error;
    if error.kind() != ErrorKind::InvalidSubcommand || error.get(ContextKind::SuggestedSubcommand).is_some() {
        return error;
    }
    let Some(ContextValue::String(wrong)) = error.get(ContextKind::InvalidSubcommand) else { return error };
    if let Some(near) = nearest(wrong, words) {
        error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(vec![near]));
    }
    error
}

/// The verb that is nearest to the wrong one, among those that may stand where it stands.
fn nearest(wrong: &str, words: impl Iterator<Item = String>) -> Option<String> {
    let all = Args::command();
    let place =
        words.take_while(|word| word != wrong).fold(&all, |place, word| place.find_subcommand(&word).unwrap_or(place));
    let near = |name: &&str| {
        // A third of its letters wrong at most, and not all of them.
        strsim::damerau_levenshtein(wrong, name) <= (name.len() / 3).clamp(1, 3)
    };
    let names = place.get_subcommands().map(clap::Command::get_name);
    // No verb has more letters; comparing takes time by the product of both lengths.
    if wrong.len() > 32 { None } else { names.into_iter().find(near).map(str::to_owned) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verb_is_guessed_among_those_of_its_place() {
        for (line, expected) in [
            ("alerts akc", Some("ack")),
            ("state gte", Some("get")),
            ("--json state --data-dir d ste", Some("set")),
            ("sned", Some("send")),
            ("akc", None),
            ("state ack", None),
            ("alerts xyz", None),
        ] {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let wrong = words.last().expect("a word").clone();
            assert_eq!(nearest(&wrong, words.into_iter()).as_deref(), expected, "{line}");
        }
        let long = "x".repeat(100_000);
        assert_eq!(nearest(&long, std::iter::once(long.clone())), None);
    }
}
