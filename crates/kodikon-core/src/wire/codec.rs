//! Decides how messages share a datagram: a sequence of CBOR arrays `[number, body]`; unknown numbers are skipped and counted.

use minicbor::{Decode, Decoder, Encoder};

use crate::ground::stats::Reject;
use crate::wire::message::Message;

/// Messages of one datagram at most: the smallest takes three bytes, and no sender batches this many.
const MAX_MESSAGES: usize = 64;

/// What a datagram's text held.
#[derive(Debug, Default)]
pub struct Batch {
    /// The messages understood, in order.
    pub messages: Vec<Message>,
    /// How many were of a later version's types.
    pub unknown: u64,
}

/// Appends one message to a datagram's text.
pub fn encode(message: &Message, text: &mut Vec<u8>) {
    write(message, &mut Encoder::new(Text(text))).expect("encoding into memory cannot fail");
}

/// Where a message is written. Most of what CBOR writes is a single byte, for which a call that copies costs more than all else.
struct Text<'t>(&'t mut Vec<u8>);

impl minicbor::encode::Write for Text<'_> {
    type Error = core::convert::Infallible;

    fn write_all(&mut self, bytes: &[u8]) -> Result<(), Self::Error> {
        match bytes {
            [byte] => self.0.push(*byte),
            _several => self.0.extend_from_slice(bytes),
        }
        Ok(())
    }
}

fn write(
    message: &Message,
    e: &mut Encoder<Text<'_>>,
) -> Result<(), minicbor::encode::Error<core::convert::Infallible>> {
    e.array(2)?;
    match message {
        Message::Hello(body) => e.u8(1)?.encode(body)?,
        Message::Challenge(body) => e.u8(2)?.encode(body)?,
        Message::Proof(body) => e.u8(3)?.encode(body)?,
        Message::Beacon(body) => e.u8(4)?.encode(body)?,
        Message::Beat(body) => e.u8(5)?.encode(body)?,
        Message::Ping(body) => e.u8(6)?.encode(body)?,
        Message::Pong(body) => e.u8(7)?.encode(body)?,
        Message::Inquiry(body) => e.u8(8)?.encode(body)?,
        Message::Heard(body) => e.u8(9)?.encode(body)?,
        Message::Suspicion(body) => e.u8(10)?.encode(body)?,
        Message::Bye(body) => e.u8(11)?.encode(body)?,
        Message::Ops(body) => e.u8(12)?.encode(body)?,
        Message::Digest(body) => e.u8(13)?.encode(body)?,
        Message::Refusal(body) => e.u8(14)?.encode(body)?,
        Message::Canary => e.u8(15)?.map(0)?,
        Message::Naming(body) => e.u8(16)?.encode(body)?,
        Message::Carry(body) => e.u8(17)?.encode(body)?,
        Message::Got(body) => e.u8(18)?.encode(body)?,
        Message::Back(body) => e.u8(19)?.encode(body)?,
        Message::Spread(body) => e.u8(20)?.encode(body)?,
        Message::Covered(body) => e.u8(21)?.encode(body)?,
        Message::Offer(body) => e.u8(22)?.encode(body)?,
        Message::Log(body) => e.u8(23)?.encode(body)?,
        Message::LogPiece(body) => e.u8(24)?.encode(body)?,
        Message::Bulk(body) => e.u8(25)?.encode(body)?,
        Message::LogReceipt(body) => e.u8(26)?.encode(body)?,
        Message::Contents(body) => e.u8(27)?.encode(body)?,
    };
    Ok(())
}

/// Reads a datagram's text.
///
/// # Errors
/// [`Reject::Malformed`] when a message is damaged: then none of the datagram is used, since its sender is not to be trusted.
pub fn decode(text: &[u8]) -> Result<Batch, Reject> {
    let mut batch = Batch::default();
    let mut d = Decoder::new(text);
    while d.position() < text.len() {
        if batch.messages.len() >= MAX_MESSAGES {
            return Err(Reject::Malformed);
        }
        match read(&mut d).map_err(|_| Reject::Malformed)? {
            Some(message) => batch.messages.push(message),
            None => batch.unknown += 1,
        }
    }
    Ok(batch)
}

fn read(d: &mut Decoder<'_>) -> Result<Option<Message>, minicbor::decode::Error> {
    if d.array()? != Some(2) {
        return Err(minicbor::decode::Error::message("a message is an array of number and body"));
    }
    let number = d.u32()?;
    let message = match number {
        1 => Message::Hello(body(d)?),
        2 => Message::Challenge(body(d)?),
        3 => Message::Proof(body(d)?),
        4 => Message::Beacon(body(d)?),
        5 => Message::Beat(body(d)?),
        6 => Message::Ping(body(d)?),
        7 => Message::Pong(body(d)?),
        8 => Message::Inquiry(body(d)?),
        9 => Message::Heard(body(d)?),
        10 => Message::Suspicion(body(d)?),
        11 => Message::Bye(body(d)?),
        12 => Message::Ops(body(d)?),
        13 => Message::Digest(body(d)?),
        14 => Message::Refusal(body(d)?),
        15 => {
            d.skip()?;
            Message::Canary
        }
        16 => Message::Naming(body(d)?),
        17 => Message::Carry(body(d)?),
        18 => Message::Got(body(d)?),
        19 => Message::Back(body(d)?),
        20 => Message::Spread(body(d)?),
        21 => Message::Covered(body(d)?),
        22 => Message::Offer(body(d)?),
        23 => Message::Log(body(d)?),
        24 => Message::LogPiece(body(d)?),
        25 => Message::Bulk(body(d)?),
        26 => Message::LogReceipt(body(d)?),
        27 => Message::Contents(body(d)?),
        _later => {
            d.skip()?;
            return Ok(None);
        }
    };
    Ok(Some(message))
}

fn body<'b, T: Decode<'b, ()>>(d: &mut Decoder<'b>) -> Result<T, minicbor::decode::Error> {
    d.decode()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::message::{Beat, Ping};

    fn text(messages: &[Message]) -> Vec<u8> {
        let mut text = Vec::new();
        for message in messages {
            encode(message, &mut text);
        }
        text
    }

    #[test]
    fn messages_share_a_datagram_in_order() {
        let messages = [
            Message::Beat(Beat { root: 7, due_ms: 5_000, log_root: None }),
            Message::Canary,
            Message::Ping(Ping { nonce: u64::MAX }),
        ];
        let batch = decode(&text(&messages)).unwrap();
        assert_eq!(batch.messages, messages);
        assert_eq!(batch.unknown, 0);
    }

    #[test]
    fn a_beat_takes_at_most_seventeen_bytes() {
        let len = text(&[Message::Beat(Beat { root: u64::MAX, due_ms: 5_000, log_root: None })]).len();
        assert!(len <= 17, "{len} B: the idle budget of docs/machines/liveness.md counts on it");
    }

    #[test]
    fn what_a_later_version_says_is_skipped_and_the_rest_is_heard() {
        let mut bytes = vec![0x82, 0x18, 0x63, 0xa1, 0x00, 0x01]; // [99, {0: 1}]
        bytes.extend(text(&[Message::Canary]));
        // A known message with a field of a later version: [6, {0: 1, 9: "x"}].
        bytes.extend([0x82, 0x06, 0xa2, 0x00, 0x01, 0x09, 0x61, 0x78]);
        let batch = decode(&bytes).unwrap();
        assert_eq!((batch.unknown, batch.messages), (1, vec![Message::Canary, Message::Ping(Ping { nonce: 1 })]));
    }

    #[test]
    fn a_damaged_message_spoils_its_datagram() {
        let whole = text(&[Message::Beat(Beat { root: 7, due_ms: 5_000, log_root: None })]);
        for len in 1..whole.len() {
            assert_eq!(decode(&whole[..len]).map(|_| ()), Err(Reject::Malformed), "{len} bytes");
        }
    }
}
