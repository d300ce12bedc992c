//! Decides whether the fields of an object are those that must be there, each of its type.

use serde_json::{Map, Value};

use super::reject::{JsonFault, JsonReject};

/// The fields of one object, taken out one by one; what is left over at the end is unknown.
pub(super) struct Fields {
    left: Map<String, Value>,
    /// What stands before a field's name in a reject: "" or "payload.".
    within: &'static str,
}

impl Fields {
    /// The fields of `value`, which must be an object.
    pub(super) fn new(value: Value, within: &'static str) -> Result<Self, JsonReject> {
        match value {
            Value::Object(left) => Ok(Self { left, within }),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                let fault = JsonFault::WrongType { expected: "an object" };
                Err(JsonReject::of_field(fault, within.trim_end_matches('.')))
            }
        }
    }

    /// Any JSON, but there.
    pub(super) fn take(&mut self, name: &str) -> Result<Value, JsonReject> {
        self.left.remove(name).ok_or_else(|| self.reject(name, JsonFault::MissingField))
    }

    /// A whole number, written as one: the original's 1.0 is not a type or a sequence number.
    pub(super) fn take_u64(&mut self, name: &str) -> Result<u64, JsonReject> {
        self.take(name)?.as_u64().ok_or_else(|| self.wrong_type(name, "a whole number from 0 to 2^64 - 1"))
    }

    /// A number that a float holds exactly, written with or without a fraction.
    pub(super) fn take_f64(&mut self, name: &str) -> Result<f64, JsonReject> {
        let value = self.take(name)?;
        let Value::Number(number) = value else {
            return Err(self.wrong_type(name, "a number"));
        };
        let Some(float) = number.as_f64() else {
            return Err(self.reject(name, JsonFault::NumberRange));
        };
        match number.as_i128() {
            Some(whole) if float as i128 != whole => Err(self.reject(name, JsonFault::NumberRange)),
            Some(_) | None => Ok(float),
        }
    }

    /// A string that is not empty.
    pub(super) fn take_name(&mut self, name: &str) -> Result<String, JsonReject> {
        match self.take(name)? {
            Value::String(text) if text.is_empty() => Err(self.reject(name, JsonFault::EmptyName)),
            Value::String(text) => Ok(text),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                Err(self.wrong_type(name, "a string"))
            }
        }
    }

    /// An array of strings, none of them empty.
    pub(super) fn take_names(&mut self, name: &str) -> Result<Vec<String>, JsonReject> {
        let Value::Array(items) = self.take(name)? else {
            return Err(self.wrong_type(name, "an array of strings"));
        };
        let mut names = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            match item {
                Value::String(text) if text.is_empty() => {
                    return Err(self.reject(&format!("{name}[{index}]"), JsonFault::EmptyName));
                }
                Value::String(text) => names.push(text),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                    return Err(self.wrong_type(&format!("{name}[{index}]"), "a string"));
                }
            }
        }
        Ok(names)
    }

    /// An object.
    pub(super) fn take_object(&mut self, name: &str) -> Result<Map<String, Value>, JsonReject> {
        match self.take(name)? {
            Value::Object(map) => Ok(map),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                Err(self.wrong_type(name, "an object"))
            }
        }
    }

    /// Refuses what nobody took.
    pub(super) fn finish(self) -> Result<(), JsonReject> {
        match self.left.keys().next() {
            Some(name) => Err(self.reject(name, JsonFault::UnknownField)),
            None => Ok(()),
        }
    }

    /// A reject that names one of these fields.
    pub(super) fn reject(&self, name: &str, fault: JsonFault) -> JsonReject {
        JsonReject::of_field(fault, &format!("{}{name}", self.within))
    }

    fn wrong_type(&self, name: &str, expected: &'static str) -> JsonReject {
        self.reject(name, JsonFault::WrongType { expected })
    }
}
