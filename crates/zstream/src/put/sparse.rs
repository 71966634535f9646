//! Files with holes in archives: GNU tar's sparse format 1.0, which `extract` writes too.
//!
//! Pax records give the name and the size; the content begins with a map, and only data follows:
//!
//! ```text
//! COUNT\n OFFSET\n LENGTH\n ...   decimal, zeros up to a multiple of 512
//! ```

use std::io::{self, Read};
use std::ops::Range;

use super::archive::bad;

/// The length of a map is a multiple of this, in bytes.
const BLOCK_BYTES: usize = 512;
/// The maximum number of ranges of one file.
const RANGES_MAX: u64 = 1 << 20;

/// The pax records of a file with holes.
#[derive(Debug, Default)]
pub(super) struct Sparse {
    major: Option<Vec<u8>>,
    minor: Option<Vec<u8>>,
    name: Option<Vec<u8>>,
    size: Option<Vec<u8>>,
    is_there: bool,
}

impl Sparse {
    /// Takes the record `GNU.sparse.KEY`.
    pub(super) fn take(&mut self, key: &[u8], value: &[u8]) {
        self.is_there = true;
        match key {
            b"major" => self.major = Some(value.to_vec()),
            b"minor" => self.minor = Some(value.to_vec()),
            b"name" => self.name = Some(value.to_vec()),
            b"realsize" => self.size = Some(value.to_vec()),
            _ => {}
        }
    }

    /// The name and the size of the file, if it is one with holes.
    pub(super) fn finish(self) -> io::Result<Option<(Vec<u8>, u64)>> {
        if !self.is_there {
            return Ok(None);
        }
        if self.major.as_deref() != Some(b"1") || self.minor.as_deref() != Some(b"0") {
            return Err(bad("sparse formats other than 1.0 are not supported".to_owned()));
        }
        match (self.name, self.size) {
            (Some(name), Some(size)) => Ok(Some((name, number(&size)?))),
            _ => Err(bad("the sparse file has no name or no size".to_owned())),
        }
    }
}

fn number(text: &[u8]) -> io::Result<u64> {
    let found = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    found.ok_or_else(|| {
        bad(format!("{:?} is not a number, in the map of a sparse file", String::from_utf8_lossy(text)))
    })
}

/// Reads the map of a file of `size` bytes: its data ranges, in order.
pub(super) fn read_map(source: &mut impl Read, size: u64) -> io::Result<Vec<Range<u64>>> {
    let mut lines = Lines { source, block: [0; BLOCK_BYTES], at: BLOCK_BYTES };
    let count = lines.number()?;
    if count > RANGES_MAX {
        return Err(bad(format!("the sparse file has {count} ranges, more than {RANGES_MAX}")));
    }
    let (mut ranges, mut last) = (Vec::new(), 0);
    for _ in 0..count {
        let (start, length) = (lines.number()?, lines.number()?);
        let end = start.checked_add(length).filter(|end| start >= last && *end <= size);
        let end = end.ok_or_else(|| {
            bad(format!("{length} bytes at {start} exceed the sparse file of {size} bytes"))
        })?;
        ranges.push(start..end);
        last = end;
    }
    Ok(ranges)
}

struct Lines<'a, R> {
    source: &'a mut R,
    block: [u8; BLOCK_BYTES],
    at: usize,
}

impl<R: Read> Lines<'_, R> {
    fn number(&mut self) -> io::Result<u64> {
        let mut text = Vec::new();
        loop {
            if self.at == BLOCK_BYTES {
                self.source.read_exact(&mut self.block)?;
                self.at = 0;
            }
            let byte = self.block[self.at];
            self.at += 1;
            match byte {
                b'\n' => return number(&text),
                // No number of 64 bits is longer.
                _ if text.len() == 20 => {
                    return Err(bad("a number in the map of a sparse file is too long".to_owned()));
                }
                _ => text.push(byte),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(text: &str, size: u64) -> Option<Vec<Range<u64>>> {
        let mut bytes = text.as_bytes().to_vec();
        bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES), 0);
        bytes.extend_from_slice(b"data");
        let mut source = &bytes[..];
        let map = read_map(&mut source, size).ok();
        assert!(map.is_none() || source == b"data", "the map ends where data begins");
        map
    }

    #[test]
    fn maps_are_judged() {
        assert_eq!(map("2\n0\n5\n512\n8\n", 520), Some(vec![0..5, 512..520]));
        assert_eq!(map("1\n520\n0\n", 520), Some(std::iter::once(520..520).collect()));
        for bad in [
            "",
            "1\n0\n",
            "2\n5\n5\n0\n5\n",
            "1\n0\n521\n",
            "1\n18446744073709551615\n2\n",
            "x\n",
            "1048577\n",
        ] {
            assert_eq!(map(bad, 520), None, "{bad:?}");
        }
    }
}
