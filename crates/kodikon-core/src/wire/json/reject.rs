//! Decides what is said about a text that is not a message: the fault, the field, the place.

use std::fmt;

use super::{MAX_BYTES, MAX_DEPTH, MAX_KEYS};

/// The longest field name that a reject carries; the rest of a longer one is cut, since strangers choose it.
const MAX_FIELD: usize = 128;

/// Why a text was refused as a message, and where.
///
/// From a socket it is counted by [`fault`](Self::fault) and forgotten; a caller of the API is shown all of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub struct JsonReject {
    /// What is wrong.
    pub fault: JsonFault,
    /// The field at fault, as `payload.state.location` or `path[2]`; empty for the message as a whole.
    pub field: String,
    /// Where the reader stood in the text. `None` where the text is sound JSON and only its content is wrong.
    pub position: Option<Position>,
}

impl JsonReject {
    /// A fault of the message as a whole.
    pub(super) const fn whole(fault: JsonFault) -> Self {
        Self { fault, field: String::new(), position: None }
    }

    /// A fault of one field of a sound text.
    pub(super) fn of_field(fault: JsonFault, field: &str) -> Self {
        Self { fault, field: shortened(field), position: None }
    }

    /// The same fault, with the place where the reader stood.
    pub(super) const fn at(mut self, position: Position) -> Self {
        self.position = Some(position);
        self
    }
}

impl fmt::Display for JsonReject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => f.write_str("the message")?,
            field => write!(f, "field {field:?}")?,
        }
        write!(f, " {}", self.fault)?;
        match self.position {
            Some(Position { line, column }) => write!(f, " (line {line}, column {column})"),
            None => Ok(()),
        }
    }
}

/// What is wrong with a text; written to follow the name of the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[non_exhaustive]
pub enum JsonFault {
    /// More bytes than one message may have.
    #[error("has {0} bytes, and {max} are the most", max = MAX_BYTES)]
    TooLong(usize),
    /// Bytes that are not UTF-8.
    #[error("is not UTF-8")]
    Utf8,
    /// Not JSON.
    #[error("is not JSON")]
    Syntax,
    /// JSON that ends before its value does.
    #[error("ends before its JSON does")]
    Truncated,
    /// Something after the message.
    #[error("is followed by more text; a message stands alone")]
    TrailingData,
    /// `NaN`, `Infinity` or `-Infinity`, which Python writes and JSON does not have.
    #[error("is NaN or infinite, which JSON cannot say; leave it out or use null")]
    NotFinite,
    /// A number that a 64-bit integer or float cannot hold, so that it would come back as another.
    #[error("is a number that 64 bits cannot hold exactly; send it as a string")]
    NumberRange,
    /// Half a character: `\ud800` without its other half.
    #[error("has an escaped surrogate without its other half")]
    LoneSurrogate,
    /// Two values under one key, of which a reader would silently drop one.
    #[error("is there twice")]
    DuplicateKey,
    /// Arrays and objects too deep in one another.
    #[error("lies deeper than {MAX_DEPTH} arrays and objects in one another")]
    TooDeep,
    /// Too many keys in the whole message.
    #[error("is one key too many; {MAX_KEYS} are the most in one message")]
    TooManyKeys,
    /// A field that every message of this kind has is not there.
    #[error("is missing")]
    MissingField,
    /// A field that no message of this kind has.
    #[error("is unknown; what is your own goes into the payload")]
    UnknownField,
    /// A value of the wrong JSON type.
    #[error("must be {expected}")]
    WrongType {
        /// What it must be, in words.
        expected: &'static str,
    },
    /// A name of a node or of a kind that is the empty string.
    #[error("must not be empty")]
    EmptyName,
    /// A type that the seed does not have.
    #[error("is {0}, and only 0 (custom) and 1 to 13 are known")]
    UnknownType(u64),
    /// Type 0 from a socket of the original, which never wrote it.
    #[error("is 0, which only the API may say")]
    CustomFromLegacy,
    /// A message of another kind than the one asked for.
    #[error("is not that of a HEARTBEAT or NODE_STATE_SYNC")]
    OtherKind,
    /// A node's state in a message of another node: nobody else may change it.
    #[error("is not the message's source; a node publishes its own state only")]
    ForeignState,
}

/// A place in a text, as editors count: the first byte is line 1, column 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Byte in that line, from 1.
    pub column: usize,
}

impl Position {
    /// The place of the byte at `offset`.
    pub(super) fn of_offset(bytes: &[u8], offset: usize) -> Self {
        let before = &bytes[..offset.min(bytes.len())];
        let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
        let column = before.iter().rev().take_while(|&&byte| byte != b'\n').count() + 1;
        Self { line, column }
    }
}

/// The field's name, cut at a character's boundary.
fn shortened(field: &str) -> String {
    if field.len() <= MAX_FIELD {
        return field.to_owned();
    }
    let mut cut = field[..field.floor_char_boundary(MAX_FIELD)].to_owned();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_field_name_is_cut_between_characters() {
        for (length, cut) in [(127, 127), (128, 128), (129, 128 + '…'.len_utf8())] {
            let reject = JsonReject::of_field(JsonFault::UnknownField, &"x".repeat(length));
            assert_eq!(reject.field.len(), cut, "{length} bytes");
        }
        let wide = JsonReject::of_field(JsonFault::UnknownField, &format!("x{}", "é".repeat(100)));
        assert_eq!(wide.field, format!("x{}…", "é".repeat(63)));
    }

    #[test]
    fn a_reject_reads_as_a_sentence_with_its_place() {
        let reject =
            JsonReject::of_field(JsonFault::NotFinite, "payload.confidence").at(Position { line: 1, column: 9 });
        assert_eq!(
            reject.to_string(),
            "field \"payload.confidence\" is NaN or infinite, which JSON cannot say; leave it out or use null (line 1, column 9)"
        );
        assert_eq!(
            JsonReject::whole(JsonFault::TooLong(70_000)).to_string(),
            "the message has 70000 bytes, and 65536 are the most"
        );
    }

    #[test]
    fn lines_and_columns_count_from_one() {
        let text = b"ab\ncd";
        for (offset, line, column) in [(0, 1, 1), (1, 1, 2), (2, 1, 3), (3, 2, 1), (5, 2, 3), (99, 2, 3)] {
            assert_eq!(Position::of_offset(text, offset), Position { line, column }, "offset {offset}");
        }
    }
}
