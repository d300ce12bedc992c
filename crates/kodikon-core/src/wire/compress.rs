//! Decides which bodies are made shorter before they leave, and how long one may become again: lz4 blocks behind their length.

use crate::ground::stats::Reject;

/// A body must become shorter by this share of it: less saves no datagram in most cases.
const WORTH: usize = 8;
/// No honest body becomes so many times longer: the seed's JSON, 2 to 4 times (docs/machines/shaper.md).
pub const MAX_RATIO: usize = 64;
/// Bytes in front of the block: how long it was.
const LENGTH: usize = 4;

/// The shorter form of a body, where it is worth it: what has at most `least` bytes, since it fits one datagram, is left as it
/// is. Making it shorter would cost more than sending it.
#[must_use]
pub fn pack(body: &[u8], least: usize) -> Option<Vec<u8>> {
    if body.len() <= least {
        return None;
    }
    let length = u32::try_from(body.len()).ok()?;
    let mut packed = vec![0; LENGTH + lz4_flex::block::get_maximum_output_size(body.len())];
    packed[..LENGTH].copy_from_slice(&length.to_le_bytes());
    let block = lz4_flex::block::compress_into(body, &mut packed[LENGTH..]).ok()?;
    packed.truncate(LENGTH + block);
    let is_worth_it = packed.len() <= body.len() - body.len() / WORTH;
    // What repeats itself even more often would not be believed.
    (is_worth_it && body.len() <= MAX_RATIO * packed.len()).then_some(packed)
}

/// The body that was packed, of at most `most` bytes. Room is made only for what it may have.
///
/// # Errors
/// [`Reject::Inflation`] when it says that it is longer than `most` or than [`MAX_RATIO`] allows, [`Reject::Malformed`] when it
/// is no block of the length that it says.
pub fn unpack(packed: &[u8], most: usize) -> Result<Vec<u8>, Reject> {
    let (length, block) = packed.split_first_chunk::<LENGTH>().ok_or(Reject::Malformed)?;
    let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| Reject::Inflation)?;
    if length > most || length > MAX_RATIO * packed.len() {
        return Err(Reject::Inflation);
    }
    let mut body = vec![0; length];
    match lz4_flex::block::decompress_into(block, &mut body) {
        Ok(written) if written == length => Ok(body),
        Ok(_) | Err(_) => Err(Reject::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What the seed's programs said to each other.
    const REAL: &str = include_str!("../../tests/fixtures/legacy_datagrams.jsonl");

    fn detections(bytes: usize) -> Vec<u8> {
        REAL.bytes().cycle().take(bytes).collect()
    }

    #[test]
    fn real_words_become_shorter_by_half_and_are_the_same_again() {
        for bytes in [1_101, 4_000, 16_000, 65_536] {
            let body: Vec<u8> = REAL.bytes().take(bytes).collect();
            let packed = pack(&body, 1_100).expect("it is worth it");
            assert!(packed.len() * 2 <= body.len(), "{} B become {}", body.len(), packed.len());
            assert_eq!(unpack(&packed, body.len()), Ok(body));
        }
    }

    #[test]
    fn what_is_short_or_gains_nothing_or_too_much_is_left_as_it_is() {
        let drawn: Vec<u8> =
            (0..16_000u32).flat_map(|n| blake3::hash(&n.to_le_bytes()).as_bytes()[..4].to_vec()).collect();
        for (case, body) in [("short", detections(1_100)), ("drawn", drawn), ("one letter", vec![b'x'; 64_000])] {
            assert_eq!(pack(&body, 1_100), None, "{case}");
        }
    }

    #[test]
    fn no_body_becomes_longer_than_it_may() {
        let packed = pack(&detections(8_000), 1_100).expect("it is worth it");
        assert_eq!(unpack(&packed, 7_999), Err(Reject::Inflation));
        let claiming = |length: u32, block: &[u8]| [&length.to_le_bytes(), block].concat();
        let bomb = lz4_flex::block::compress(&vec![0; 60_000]);
        let most = (bomb.len() + LENGTH) * MAX_RATIO;
        let rows: [(&str, Vec<u8>, Reject); 6] = [
            ("says more than the ratio", claiming(60_000, &bomb), Reject::Inflation),
            ("is more than it says", claiming(u32::try_from(most).unwrap(), &bomb), Reject::Malformed),
            ("says four gigabytes", claiming(u32::MAX, &[0; 100]), Reject::Inflation),
            ("is less than it says", claiming(9_000, &packed[LENGTH..]), Reject::Malformed),
            ("is cut off", packed[..packed.len() / 2].to_vec(), Reject::Malformed),
            ("is nothing", Vec::new(), Reject::Malformed),
        ];
        for (case, bytes, reason) in rows {
            assert_eq!(unpack(&bytes, 65_536), Err(reason), "{case}");
        }
    }

    proptest! {
        #[test]
        fn whatever_arrives_is_a_body_within_its_limit_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
            if let Ok(body) = unpack(&bytes, 4_096) {
                prop_assert!(body.len() <= 4_096.min(MAX_RATIO * bytes.len()));
            }
        }
    }
}
