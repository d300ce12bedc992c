//! Decides which text is JSON that we can keep as it is: what a lax reader lets pass or rounds (two values for one key, a nest without
//! end, an integer beyond 64 bits) is refused here.

use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::{Deserializer, Map, Value};

use super::reject::{JsonFault, JsonReject, Position};
use super::{MAX_DEPTH, MAX_KEYS};

/// 2^63: no float below it in size can come from an integer that 64 bits do not hold.
const BEYOND_I64: f64 = 9_223_372_036_854_775_808.0;

/// Reads the one JSON value that `bytes` are.
pub(super) fn read(bytes: &[u8]) -> Result<Value, JsonReject> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let good = error.valid_up_to();
        let field = std::str::from_utf8(&bytes[..good]).map(field_at_end).unwrap_or_default();
        JsonReject::of_field(JsonFault::Utf8, &field).at(Position::of_offset(bytes, good))
    })?;
    let mut parser = Deserializer::from_str(text);
    let mut progress = Progress::default();
    let value = Reader(&mut progress).deserialize(&mut parser).map_err(|error| progress.reject(text, &error))?;
    parser.end().map_err(|error| JsonReject::whole(JsonFault::TrailingData).at(place(&error)))?;
    if progress.saw_huge {
        refuse_rounded_integers(text)?;
    }
    Ok(value)
}

/// How far the reader came: tells what failed and where, since serde's own errors only have a text.
#[derive(Default)]
struct Progress {
    /// Where in the value we are. It is left as it was when something fails.
    path: Vec<Step>,
    keys: usize,
    /// A float came by that may have been an integer in the text.
    saw_huge: bool,
    /// Our own reason, where it was not the parser that failed.
    fault: Option<JsonFault>,
}

enum Step {
    Key(String),
    Index(usize),
}

impl Progress {
    fn fail<E: serde::de::Error>(&mut self, fault: JsonFault) -> E {
        self.fault = Some(fault);
        E::custom(fault)
    }

    /// An array or object begins.
    fn enter<E: serde::de::Error>(&mut self) -> Result<(), E> {
        if self.path.len() >= MAX_DEPTH { Err(self.fail(JsonFault::TooDeep)) } else { Ok(()) }
    }

    fn reject(&self, text: &str, error: &serde_json::Error) -> JsonReject {
        let fault = self.fault.unwrap_or_else(|| fault_of(text, error));
        JsonReject::of_field(fault, &self.field()).at(place(error))
    }

    fn field(&self) -> String {
        let mut field = String::new();
        for step in &self.path {
            match step {
                Step::Key(key) if field.is_empty() => field.push_str(key),
                Step::Key(key) => field.extend([".", key]),
                Step::Index(index) => field.push_str(&format!("[{index}]")),
            }
        }
        field
    }
}

/// Builds a [`Value`] and keeps the books in [`Progress`].
struct Reader<'a>(&'a mut Progress);

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        self.0.saw_huge |= value.abs() >= BEYOND_I64;
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        self.0.enter()?;
        let mut items = Vec::new();
        loop {
            self.0.path.push(Step::Index(items.len()));
            let item = seq.next_element_seed(Reader(self.0))?;
            self.0.path.pop();
            match item {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        self.0.enter()?;
        let mut fields = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let twice = fields.contains_key(&key);
            self.0.path.push(Step::Key(key));
            self.0.keys += 1;
            if twice {
                return Err(self.0.fail(JsonFault::DuplicateKey));
            }
            if self.0.keys > MAX_KEYS {
                return Err(self.0.fail(JsonFault::TooManyKeys));
            }
            let value = map.next_value_seed(Reader(self.0))?;
            if let Some(Step::Key(key)) = self.0.path.pop() {
                fields.insert(key, value);
            }
        }
        Ok(Value::Object(fields))
    }
}

/// What the parser stumbled over.
fn fault_of(text: &str, error: &serde_json::Error) -> JsonFault {
    match error.classify() {
        Category::Eof => return JsonFault::Truncated,
        Category::Io | Category::Syntax | Category::Data => {}
    }
    // serde_json tells its syntax errors apart only in words; `what_the_parser_says_is_understood` fails if it changes them.
    let words = error.to_string();
    if words.starts_with("lone leading surrogate") || words.starts_with("unexpected end of hex escape") {
        return JsonFault::LoneSurrogate;
    }
    if words.starts_with("number out of range") {
        return JsonFault::NumberRange;
    }
    let rest = text.get(offset_of(text, place(error))..).unwrap_or_default();
    if rest.starts_with("NaN") || rest.starts_with("Infinity") { JsonFault::NotFinite } else { JsonFault::Syntax }
}

/// Where the parser stood. It counts a line that has just begun from column 0.
fn place(error: &serde_json::Error) -> Position {
    Position { line: error.line(), column: error.column().max(1) }
}

fn offset_of(text: &str, place: Position) -> usize {
    let lines_before = text.split_inclusive('\n').take(place.line.saturating_sub(1));
    lines_before.map(str::len).sum::<usize>() + place.column - 1
}

/// Refuses integers that became a float of another value: "equal after a round trip" would not be true of them. `text` is sound JSON.
fn refuse_rounded_integers(text: &str) -> Result<(), JsonReject> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => at = end_of_string(bytes, at),
            b'-' | b'0'..=b'9' => {
                let length = bytes[at..].iter().take_while(|byte| is_of_number(**byte)).count();
                if is_rounded(&text[at..at + length]) {
                    let reject = JsonReject::of_field(JsonFault::NumberRange, &field_at_end(&text[..at]));
                    return Err(reject.at(Position::of_offset(bytes, at)));
                }
                at += length;
            }
            _ => at += 1,
        }
    }
    Ok(())
}

/// The offset behind the string that begins at `start`.
fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

const fn is_of_number(byte: u8) -> bool {
    matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')
}

/// Whether this is an integer that neither 64 bits nor a float can hold. Written with a fraction or exponent it is a float by its own word.
fn is_rounded(number: &str) -> bool {
    if number.contains(['.', 'e', 'E']) || number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok() {
        return false;
    }
    // `{:.0}` prints every digit of a float's exact value.
    number.parse::<f64>().is_ok_and(|float| format!("{float:.0}") != number)
}

/// The field in which a value would begin that follows `text`: reads the text until it breaks off, and looks where that was.
fn field_at_end(text: &str) -> String {
    let mut progress = Progress::default();
    match Reader(&mut progress).deserialize(&mut Deserializer::from_str(text)) {
        Ok(_) => String::new(),
        Err(_) => progress.field(),
    }
}
