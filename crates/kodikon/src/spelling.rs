//! Decides which known word was probably meant by one that nobody knows, and how much of that is repeated to whoever wrote it.

/// A longer word is no slip of the finger; comparing takes time and memory by the product of both lengths. Names have 64 bytes.
const LONGEST: usize = 128;

/// The setting that was probably meant: case, `-` and `_` tell nothing there.
pub(crate) fn nearest_key<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    nearest(word, known, |word| word.to_lowercase().replace('-', "_"))
}

/// The node that was probably meant, whatever digits of an identity stand behind its name.
pub(crate) fn nearest_name<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.rsplit_once('@').map_or(word, |(name, _)| name);
    nearest(word, known, str::to_lowercase)
}

/// At most a third of its letters wrong, no more than three, and not all of them.
fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>, spelt: impl Fn(&str) -> String) -> Option<&'a str> {
    if word.is_empty() || word.len() > LONGEST {
        return None;
    }
    let word = spelt(word);
    known
        .map(|candidate| (strsim::damerau_levenshtein(&word, &spelt(candidate)), candidate))
        .filter(|(distance, candidate)| {
            let letters = candidate.chars().count();
            *distance <= (letters / 3).clamp(1, 3) && *distance < letters
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// What a message shows of a text: the first 60 characters.
pub(crate) fn shorten(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_near_when_a_third_of_it_is_wrong() {
        let known = ["udp_port", "max_hops", "name", "key"];
        for (word, expected) in [
            ("udp_prot", Some("udp_port")),
            ("UDP-PORT", Some("udp_port")),
            ("udpport", Some("udp_port")),
            ("nmae", Some("name")),
            ("kye", Some("key")),
            ("camera", None),
            ("", None),
        ] {
            assert_eq!(nearest_key(word, known.into_iter()), expected, "{word}");
        }
    }

    #[test]
    fn a_name_is_compared_as_a_name() {
        let known = ["cam-1", "Gate North", "7"];
        for (word, expected) in [
            ("cam-2", Some("cam-1")),
            ("CAM-1", Some("cam-1")),
            ("cam_1", Some("cam-1")),
            ("cam-1@0000", Some("cam-1")),
            ("gate noth", Some("Gate North")),
            ("8", None),
            ("door", None),
            (&"cam-1".repeat(1_000), None),
        ] {
            assert_eq!(nearest_name(word, known.into_iter()), expected, "{word}");
        }
    }
}
