//! Decides how deep a JSON value may be that an application gives: as state, in a message, or as an alert.

/// Arrays and objects in one another. Whoever reads it back may be a program with a recursive parser and a small stack.
pub const MAX_DEPTH: usize = 32;

/// How many arrays and objects lie in one another in a JSON text. Takes no stack, however deep it is; of a text that is no JSON it
/// says nothing.
#[must_use]
pub fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut is_text, mut is_escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = is_text,
            b'"' => is_text = !is_text,
            b'[' | b'{' if !is_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !is_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_brackets_outside_of_texts() {
        for (text, expected) in [
            ("1", 0),
            ("[]", 1),
            ("[[],[[]]]", 3),
            (r#"{"a":[{"b":1}]}"#, 3),
            (r#""[[[""#, 0),
            (r#"["\"[[", "\\", []]"#, 2),
            ("]]]", 0),
        ] {
            assert_eq!(depth(text), expected, "{text}");
        }
        assert_eq!(depth(&"[".repeat(1_000_000)), 1_000_000);
    }
}
