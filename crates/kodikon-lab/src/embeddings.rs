//! Decides what a file of embeddings looks like that a lab makes: many numbers without meaning.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use anyhow::Result;

/// A `.npy` file of embeddings that have nothing in common (numpy/lib/format.py, version 1), the same each time.
///
/// # Errors
/// When it cannot be written, or its head would be too long.
pub fn write_embeddings(path: &Path, rows: u32, dims: usize) -> Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    let head = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {dims}), }}");
    // The numbers begin at a multiple of 64.
    let head = format!("{head:<117}\n");
    file.write_all(b"\x93NUMPY\x01\x00")?;
    file.write_all(&u16::try_from(head.len())?.to_le_bytes())?;
    file.write_all(head.as_bytes())?;
    let mut state = 0_u64;
    for _ in 0..rows as usize * dims {
        // SplitMix64 (Steele, Lea, Flood 2014); its upper bits as a number from -1 to below 1.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        let bits = u16::try_from((mixed ^ mixed >> 31) >> 48)?;
        file.write_all(&(f32::from(bits) / 32_768.0 - 1.0).to_le_bytes())?;
    }
    file.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_file_has_its_numbers_behind_a_head_of_128_bytes() {
        let path = std::env::temp_dir().join(format!("kodikon-volume-{}.npy", std::process::id()));
        write_embeddings(&path, 3, 5).unwrap();
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(bytes.len(), 128 + 3 * 5 * 4);
        assert_eq!(bytes[127], b'\n');
        let numbers: Vec<f32> = bytes[128..].as_chunks().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
        assert!(numbers.iter().all(|number| (-1.0..1.0).contains(number)));
        assert!(numbers.windows(2).any(|pair| pair[0] != pair[1]));
    }
}
