//! Decides the 18 bytes in front of every sealed text, which are authenticated and not encrypted.

use crate::ground::id::SessionTag;
use crate::ground::stats::Reject;

/// Frame type, key epoch, session tag, counter.
pub const HEADER: usize = 18;
/// The authentication tag behind the text.
pub const TAG: usize = 16;
/// Bytes a frame adds to its text.
pub const OVERHEAD: usize = HEADER + TAG;
/// Bytes of a datagram at most: what Ethernet carries behind IPv6 and UDP headers.
pub const MAX_FRAME: usize = crate::ground::config::MAX_PLAIN + OVERHEAD;

/// Bytes of a frame on a pipe at most: its text is put together of whole messages, of which the last may be as long as a datagram's.
pub const MAX_PIPED: usize = MAX_PIPE_TEXT + OVERHEAD;
/// Bytes of text of a frame on a pipe at most. What twelve sightings take: whoever reads it is held for less than a millisecond.
pub const MAX_PIPE_TEXT: usize = 16 * 1_024;

/// The one frame type of this version. Below 0x40, where no ASCII letter, brace or TLS and QUIC header begins.
const SEALED: u8 = 0x01;
/// The one group key of this version; the byte leaves room for changing keys without stopping the fleet.
const KEY_EPOCH: u8 = 0;

/// What a frame says in clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Names the sender's session.
    pub tag: SessionTag,
    /// The frame's number within the session, and its nonce: never used twice.
    pub counter: u64,
}

impl Header {
    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0] = SEALED;
        bytes[1] = KEY_EPOCH;
        bytes[2..10].copy_from_slice(&self.tag.0);
        bytes[10..].copy_from_slice(&self.counter.to_be_bytes());
        bytes
    }

    /// Reads the header of a datagram.
    ///
    /// # Errors
    /// [`Reject::Length`], [`Reject::FrameType`] or [`Reject::KeyEpoch`] when it is none of ours.
    pub fn decode(frame: &[u8]) -> Result<Self, Reject> {
        Self::decode_within(frame, MAX_FRAME)
    }

    /// Reads the header of a frame on a stream that is a pipe.
    ///
    /// # Errors
    /// As [`Header::decode`].
    pub fn decode_piped(frame: &[u8]) -> Result<Self, Reject> {
        Self::decode_within(frame, MAX_PIPED)
    }

    fn decode_within(frame: &[u8], longest: usize) -> Result<Self, Reject> {
        if frame.len() < OVERHEAD || frame.len() > longest {
            // What is too short for us may still be somebody's first byte: tell another program from damage.
            return Err(if frame.first().is_some_and(|&kind| kind != SEALED) {
                Reject::FrameType
            } else {
                Reject::Length
            });
        }
        if frame[0] != SEALED {
            return Err(Reject::FrameType);
        }
        if frame[1] != KEY_EPOCH {
            return Err(Reject::KeyEpoch);
        }
        let tag = SessionTag(frame[2..10].try_into().expect("eight bytes"));
        let counter = u64::from_be_bytes(frame[10..HEADER].try_into().expect("eight bytes"));
        Ok(Self { tag, counter })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written_and_foreign_bytes_are_named() {
        let header = Header { tag: SessionTag([9; 8]), counter: 0x0102_0304 };
        let mut frame = [header.encode().as_slice(), &[0; TAG]].concat();
        assert_eq!(Header::decode(&frame), Ok(header));
        let table: [(&[u8], Reject); 4] = [
            (&frame[..OVERHEAD - 1], Reject::Length),
            (&[], Reject::Length),
            (b"{\"type\": 1}", Reject::FrameType),
            (&[vec![1u8], vec![0; MAX_FRAME]].concat(), Reject::Length),
        ];
        for (bytes, reason) in table {
            assert_eq!(Header::decode(bytes), Err(reason), "{bytes:?}");
        }
        frame[1] = 1;
        assert_eq!(Header::decode(&frame), Err(Reject::KeyEpoch));
    }
}
