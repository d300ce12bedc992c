//! Decides how rows of numbers are read from and written to `.npy` files (numpy/lib/format.py, versions 1 to 3): row by row, so that a
//! file may be larger than memory.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek as _, SeekFrom, Write as _};
use std::path::Path;

/// How each such file begins.
const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// Bytes of a header's text at most: that of a plain array has a hundred.
const MAX_HEADER: usize = 4_096;
/// Where the numbers of a file of ours begin.
const START: u64 = 128;
/// Numbers in a row at most: no embedding has more.
const MAX_DIMS: usize = 4_096;

/// How the numbers lie in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    F32,
    F64,
}

impl Kind {
    const fn width(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }
}

/// A file of rows that is read.
#[derive(Debug)]
pub(crate) struct Rows {
    file: BufReader<File>,
    kind: Kind,
    rows: u64,
    dims: usize,
    start: u64,
}

impl Rows {
    /// Opens a file; says why it cannot be read.
    pub(crate) fn open(path: &Path) -> Result<Self, String> {
        let file = File::open(path).map_err(|error| error.to_string())?;
        Self::begin(BufReader::new(file))
    }

    fn begin(mut file: BufReader<File>) -> Result<Self, String> {
        let cut = |_| "it is no .npy file, or cut off".to_owned();
        let mut begin = [0; 8];
        file.read_exact(&mut begin).map_err(cut)?;
        if !begin.starts_with(MAGIC) {
            return Err("it is no .npy file".to_owned());
        }
        let (length, width) = match begin[6] {
            1 => {
                let mut bytes = [0; 2];
                file.read_exact(&mut bytes).map_err(cut)?;
                (usize::from(u16::from_le_bytes(bytes)), 2)
            }
            2 | 3 => {
                let mut bytes = [0; 4];
                file.read_exact(&mut bytes).map_err(cut)?;
                (usize::try_from(u32::from_le_bytes(bytes)).unwrap_or(usize::MAX), 4)
            }
            version => return Err(format!("it is of version {version} of the format: 1 to 3 are read")),
        };
        if length > MAX_HEADER {
            return Err(format!("its header has {length} bytes: that of a plain array has at most {MAX_HEADER}"));
        }
        let mut header = vec![0; length];
        file.read_exact(&mut header).map_err(cut)?;
        let (kind, rows, dims) = shape_of(&String::from_utf8_lossy(&header))?;
        let start = (begin.len() + width + length) as u64;
        let wanted = (rows.checked_mul((dims * kind.width()) as u64)).and_then(|bytes| bytes.checked_add(start));
        let found = file.get_ref().metadata().map_err(|error| error.to_string())?.len();
        if wanted.is_none_or(|wanted| wanted > found) {
            return Err(format!("it has {found} bytes: too few for {rows} rows of {dims} numbers"));
        }
        Ok(Self { file, kind, rows, dims, start })
    }

    /// How many there are.
    pub(crate) fn len(&self) -> u64 {
        self.rows
    }

    /// Reads one, counted from 0.
    pub(crate) fn row(&mut self, row: u64) -> Result<Vec<f32>, String> {
        if row >= self.rows {
            return Err(format!("it has {} rows, counted from 0: there is no row {row}", self.rows));
        }
        let mut bytes = vec![0; self.dims * self.kind.width()];
        let at = self.start + row * bytes.len() as u64;
        let now = self.file.stream_position().map_err(|error| error.to_string())?;
        // Row after row it need not look for its place, and what was read ahead stays.
        if now != at {
            self.file.seek(SeekFrom::Start(at)).map_err(|error| error.to_string())?;
        }
        self.file.read_exact(&mut bytes).map_err(|error| error.to_string())?;
        Ok(match self.kind {
            Kind::F32 => bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
            Kind::F64 => bytes.as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes) as f32).collect(),
        })
    }
}

/// What a header says: how numbers lie, rows, numbers in each.
fn shape_of(header: &str) -> Result<(Kind, u64, usize), String> {
    let value = |key: &str| {
        let rest = header.split_once(&format!("'{key}':")).map(|(_, rest)| rest.trim_start());
        rest.ok_or_else(|| format!("its header says nothing of `{key}`"))
    };
    let descr = value("descr")?;
    let descr = descr.strip_prefix('\'').and_then(|rest| rest.split('\'').next()).unwrap_or_default();
    let kind = match descr {
        "<f4" => Kind::F32,
        "<f8" => Kind::F64,
        other => {
            let other: String = other.chars().take(32).collect();
            return Err(format!(
                "its numbers are `{other}`: `<f4` and `<f8` are read; `array.astype('<f4')` makes them so"
            ));
        }
    };
    if !value("fortran_order")?.starts_with("False") {
        return Err("its columns lie together, not its rows: `numpy.ascontiguousarray(array)` makes them so".to_owned());
    }
    let shape = value("shape")?.strip_prefix('(').and_then(|rest| rest.split_once(')')).map(|(shape, _)| shape);
    let sizes: Option<Vec<u64>> = shape.and_then(|shape| {
        let parts = shape.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(|part| part.parse().ok()).collect()
    });
    let (rows, dims) = match sizes.as_deref() {
        Some([dims]) => (1, *dims),
        Some([rows, dims]) => (*rows, *dims),
        Some(_) | None => return Err("its shape is neither (numbers) nor (rows, numbers)".to_owned()),
    };
    let fitting = usize::try_from(dims).ok().filter(|dims| (1..=MAX_DIMS).contains(dims));
    let dims = fitting.ok_or_else(|| format!("its rows have {dims} numbers: an embedding has 1 to {MAX_DIMS}"))?;
    Ok((kind, rows, dims))
}

/// A file of rows that is written, each in its place; places that were left out hold zeros, which no embedding is.
#[derive(Debug)]
pub(crate) struct Writer {
    file: BufWriter<File>,
    dims: usize,
    rows: u64,
    next: u64,
}

impl Writer {
    /// Begins a file.
    pub(crate) fn new(file: File, dims: usize) -> io::Result<Self> {
        let mut writer = Self { file: BufWriter::new(file), dims, rows: 0, next: 0 };
        writer.file.seek(SeekFrom::Start(START))?;
        Ok(writer)
    }

    /// Numbers in a row.
    pub(crate) fn dims(&self) -> usize {
        self.dims
    }

    /// Writes a row into its place.
    pub(crate) fn write(&mut self, row: u64, numbers: &[f32]) -> io::Result<()> {
        if row != self.next {
            self.file.seek(SeekFrom::Start(START + row * (self.dims * Kind::F32.width()) as u64))?;
        }
        for number in numbers {
            self.file.write_all(&number.to_le_bytes())?;
        }
        self.next = row + 1;
        self.rows = self.rows.max(row + 1);
        Ok(())
    }

    /// Ends the file: its header says how many rows it has. All is on disk when this returns.
    pub(crate) fn end(mut self) -> io::Result<u64> {
        let said = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", self.rows, self.dims);
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(MAGIC)?;
        self.file.write_all(&[1, 0])?;
        let length = START as usize - MAGIC.len() - 4;
        self.file.write_all(&(length as u16).to_le_bytes())?;
        self.file.write_all(format!("{said:<width$}\n", width = length - 1).as_bytes())?;
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        Ok(self.rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_where_its_numbers_are_rows_of_floats_and_else_refused_with_a_way_out() {
        let header = |descr: &str, order: &str, shape: &str| {
            format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}   \n")
        };
        for (text, expected) in [
            (header("<f4", "False", "(320, 512)"), (Kind::F32, 320, 512)),
            (header("<f8", "False", "(7,)"), (Kind::F64, 1, 7)),
            (header("<f4", "False", "(0, 4096)"), (Kind::F32, 0, 4_096)),
        ] {
            assert_eq!(shape_of(&text), Ok(expected), "{text}");
        }
        for (text, expected) in [
            (header("<i8", "False", "(3, 2)"), "astype('<f4')"),
            (header("<f4", "True", "(3, 2)"), "ascontiguousarray"),
            (header("<f4", "False", "(3, 2, 1)"), "neither"),
            (header("<f4", "False", "(3, 4097)"), "4097 numbers: an embedding has 1 to 4096"),
            (header("<f4", "False", "(3, 0)"), "0 numbers"),
            (header("<f4", "False", "(-3, 2)"), "neither"),
            ("{}".to_owned(), "nothing of `descr`"),
        ] {
            let said = shape_of(&text).expect_err("refused");
            assert!(said.contains(expected), "{text}: {said:?} should say {expected:?}");
        }
    }

    #[test]
    fn rows_are_read_back_from_the_places_they_were_written_to_and_gaps_are_zeros() {
        let path = std::env::temp_dir().join(format!("kodikon-npy-{}.npy", std::process::id()));
        let mut writer = Writer::new(File::create(&path).expect("writable"), 3).expect("writable");
        for (row, number) in [(0, 1.0), (3, 4.0), (1, 2.0)] {
            writer.write(row, &[number; 3]).expect("writable");
        }
        assert_eq!(writer.end().expect("writable"), 4);
        let mut rows = Rows::open(&path).expect("it was written");
        assert_eq!(rows.len(), 4);
        let read: Vec<f32> = (0..4).map(|row| rows.row(row).expect("there")[2]).collect();
        assert_eq!(read, [1.0, 2.0, 0.0, 4.0]);
        assert!(rows.row(4).is_err_and(|said| said.contains("there is no row 4")));
        let whole = std::fs::read(&path).expect("readable");
        std::fs::write(&path, &whole[..whole.len() - 1]).expect("writable");
        assert!(Rows::open(&path).is_err_and(|said| said.contains("too few for 4 rows of 3 numbers")));
        std::fs::write(&path, &whole[..20]).expect("writable");
        assert!(Rows::open(&path).is_err_and(|said| said.contains("cut off")));
        let _ = std::fs::remove_file(&path);
    }
}
