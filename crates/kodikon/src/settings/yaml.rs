//! Reads a YAML file into a tree in which everything knows its line and column.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use super::problem::Wrong;
use super::value::{Place, Raw};

/// A configuration is a page; a megabyte is another file.
pub(crate) const MAX_BYTES: u64 = 1 << 20;

/// A node of the tree.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    Leaf(Raw),
    List(Vec<Spanned<Self>>),
    Map(Vec<(Spanned<String>, Spanned<Self>)>),
}

impl Node {
    /// The value, for a key that takes one.
    pub(crate) fn raw(&self) -> Raw {
        match self {
            Self::Leaf(raw) => raw.clone(),
            Self::List(list) => Raw::List(list.iter().map(|node| (node.value.raw(), place(node))).collect()),
            Self::Map(_) => Raw::Section,
        }
    }
}

/// Line and column of a node.
pub(crate) fn place<T>(node: &Spanned<T>) -> Place {
    let (line, column) = (node.referenced.line(), node.referenced.column());
    (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
}

/// Parses a text. An empty one is an empty mapping.
pub(crate) fn parse(text: &str) -> Result<Node, (Wrong, Place)> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_documents: 1, max_depth: 32, max_nodes: 20_000 },
        strict_booleans: true,
        with_snippet: false,
    };
    match serde_saphyr::from_str_with_options::<Node>(text, options) {
        Ok(Node::Leaf(Raw::Null)) => Ok(Node::Map(Vec::new())),
        Ok(node) => Ok(node),
        Err(error) => {
            let at = error.location().map_or((0, 0), |at| (at.line(), at.column()));
            let place = (u32::try_from(at.0).unwrap_or(u32::MAX), u32::try_from(at.1).unwrap_or(u32::MAX));
            Err((wrong(error.without_snippet(), at), place))
        }
    }
}

/// What is wrong, for whoever wrote the file: the parser's own words name its options, which nobody here can set.
fn wrong(error: &serde_saphyr::Error, at: (u64, u64)) -> Wrong {
    use serde_saphyr::Error;
    use serde_saphyr::budget::BudgetBreach;
    if let Error::DuplicateMappingKey { key, .. } = error {
        return Wrong::Twice { key: key.clone() };
    }
    if matches!(error, Error::MultipleDocuments { .. } | Error::Budget { breach: BudgetBreach::Documents { .. }, .. }) {
        return Wrong::SecondDocument;
    }
    if matches!(
        error,
        Error::Budget { .. } | Error::AliasReplayLimitExceeded { .. } | Error::AliasExpansionLimitExceeded { .. }
    ) {
        return Wrong::TooMuch;
    }
    let message = error.render_with_formatter(&serde_saphyr::UserMessageFormatter);
    // The place stands before every message of ours already.
    Wrong::Syntax(message.replace(&format!(" at line {}, column {}", at.0, at.1), ""))
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any)
    }
}

/// Takes whatever comes.
struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Leaf(Raw::Null))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Leaf(Raw::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Deserialize::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Leaf(Raw::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Leaf(Raw::Integer(value.into())))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Leaf(Raw::Integer(value.into())))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Node, E> {
        Ok(Node::Leaf(Raw::Integer(value)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Leaf(Raw::Float(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Leaf(Raw::Text(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = access.next_element()? {
            list.push(element);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = access.next_entry()? {
            map.push(entry);
        }
        Ok(Node::Map(map))
    }
}
