//! Writes the generated set for other programs: sightings of identities, and queries that are further sightings of the same.
//! `cargo run --release -p kodikon-scan --example generated -- ENTRIES QUERIES DIRECTORY` writes `entries.npy` and `queries.npy`.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::ops::Range;
use std::path::Path;

use kodikon_scan::generated::Sightings;

/// As in the benchmark: the same seed, the same dimensions.
const SEED: u64 = 1;
const DIMS: usize = 512;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [entries, queries, directory] = &arguments[..] else {
        return Err("how many entries, how many queries, and where to write them".into());
    };
    let (entries, queries) = (entries.parse()?, queries.parse::<usize>()?);
    let made = Sightings::new(SEED, DIMS, entries);
    write(&Path::new(directory).join("entries.npy"), &made, 0..entries)?;
    write(&Path::new(directory).join("queries.npy"), &made, entries..entries + queries)?;
    Ok(())
}

/// A `.npy` file (numpy/lib/format.py, version 1).
fn write(path: &Path, made: &Sightings, sightings: Range<usize>) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    let head = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {DIMS}), }}", sightings.len());
    // The numbers begin at byte 128, which is 0x76 bytes behind the length.
    file.write_all(b"\x93NUMPY\x01\x00\x76\x00")?;
    file.write_all(format!("{head:<117}\n").as_bytes())?;
    for at in sightings {
        for number in made.numbers(at) {
            file.write_all(&number.to_le_bytes())?;
        }
    }
    file.flush()
}
