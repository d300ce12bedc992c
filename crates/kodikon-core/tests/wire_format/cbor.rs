//! CBOR as a tree, as far as the wire uses it.

use minicbor::Decoder;
use minicbor::data::Type;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cbor {
    Uint(u64),
    Bytes(Vec<u8>),
    Text(String),
    Bool(bool),
    /// By its bits.
    Float(u64),
    Array(Vec<Self>),
    Map(Vec<(Self, Self)>),
}

/// The items of a sequence. What the wire does not use, indefinite lengths and all else, is a panic.
pub(crate) fn sequence(bytes: &[u8]) -> Vec<Cbor> {
    let mut d = Decoder::new(bytes);
    let mut items = Vec::new();
    while d.position() < bytes.len() {
        items.push(item(&mut d).unwrap_or_else(|error| panic!("byte {}: {error}", d.position())));
    }
    items
}

fn item(d: &mut Decoder<'_>) -> Result<Cbor, minicbor::decode::Error> {
    let kind = d.datatype()?;
    if matches!(kind, Type::U8 | Type::U16 | Type::U32 | Type::U64) {
        return d.u64().map(Cbor::Uint);
    }
    Ok(if kind == Type::Bytes {
        Cbor::Bytes(d.bytes()?.to_vec())
    } else if kind == Type::String {
        Cbor::Text(d.str()?.to_owned())
    } else if kind == Type::Bool {
        Cbor::Bool(d.bool()?)
    } else if kind == Type::F64 {
        Cbor::Float(d.f64()?.to_bits())
    } else if kind == Type::Array {
        let length = d.array()?.expect("a definite length");
        Cbor::Array((0..length).map(|_| item(d)).collect::<Result<_, _>>()?)
    } else if kind == Type::Map {
        let length = d.map()?.expect("a definite length");
        Cbor::Map((0..length).map(|_| Ok((item(d)?, item(d)?))).collect::<Result<_, minicbor::decode::Error>>()?)
    } else {
        return Err(minicbor::decode::Error::message(format!("{kind} is not used on the wire")));
    })
}
