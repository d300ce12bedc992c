//! Decides that a document is an object: its fields in their order, without their names, are none.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A document that is read by the names of its fields alone.
///
/// What is derived reads a list of a document's fields in their order as well: `["8f3a", "bag"]` would be a sighting, and a list
/// where one document is wanted would raise an alert.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Named<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(ByName(PhantomData)).map(Self)
    }
}

/// For a field of a document that is a document itself.
pub(super) fn named<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    Ok(Option::<Named<T>>::deserialize(from)?.map(|Named(inner)| inner))
}

struct ByName<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ByName<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::api::{AlertDoc, RecordDoc};

    #[test]
    fn a_document_is_read_by_its_names_and_not_by_its_order() {
        let record = |value: Value| serde_json::from_value::<Named<RecordDoc>>(value).map(|Named(doc)| doc.hash_value);
        let embedding = json!({"model": "m", "numbers": [1.0]});
        for (value, expected) in [
            (json!({"hash_value": "a"}), Ok("a")),
            (json!({"hash_value": "a", "embedding": embedding}), Ok("a")),
            (json!({"hash_value": "a", "embedding": null}), Ok("a")),
            (json!(["a", "bag"]), Err("invalid type: sequence, expected an object")),
            (json!([]), Err("invalid type: sequence, expected an object")),
            (json!("a"), Err("invalid type: string \"a\", expected an object")),
            (
                json!({"hash_value": "a", "embedding": ["m", 1, "f32", [1.0]]}),
                Err("invalid type: sequence, expected an object"),
            ),
            (json!({"hash_value": "a", "colour": 1}), Err("unknown field `colour`")),
        ] {
            match (record(value.clone()), expected) {
                (Ok(hash), Ok(expected)) => assert_eq!(hash, expected, "{value}"),
                (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{value}: {error}"),
                (found, _) => panic!("{value}: {found:?}"),
            }
        }
        let list = r#"[{"a":1},"high",10,0]"#;
        assert!(serde_json::from_str::<Named<AlertDoc>>(list).is_err());
        let elements = r#"[{"hash_value": "a"}, ["b"]]"#;
        assert!(serde_json::from_str::<Vec<Named<RecordDoc>>>(elements).is_err());
        let error = serde_json::from_str::<Named<RecordDoc>>("{\"hash_value\":\n 7}").expect_err("a number");
        assert!(error.to_string().ends_with("at line 2 column 2"), "the place is told: {error}");
    }
}
