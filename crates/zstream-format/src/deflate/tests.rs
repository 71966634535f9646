//! Comparison with the output of zlib for the same inputs, recorded by `tests/data/deflate/record.py`.

use super::zlib;

fn make(kind: &str, len: usize) -> Vec<u8> {
    let mut state = len as u64 + 1;
    let mut out = Vec::new();
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        match kind {
            "zeros" => out.resize(len, 0),
            "noise" => out.extend(state.to_le_bytes()),
            "letters" => out.extend((0..64).map(|bit| b'a' + (state >> bit & 1) as u8)),
            "copies" => {
                out.extend(((state >> 32) as u32).to_le_bytes());
                let start = out.len().saturating_sub((state % 40000) as usize + 1);
                let end = out.len().min(start + ((state >> 16) % 300) as usize);
                out.extend_from_within(start..end);
            }
            "skewed" => out.push(state.trailing_zeros() as u8),
            other => panic!("no input of kind {other}"),
        }
    }
    out.truncate(len);
    out
}

fn fnv(data: &[u8]) -> u64 {
    data.iter()
        .fold(0xcbf2_9ce4_8422_2325, |state, byte| (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[test]
fn every_level_makes_zlibs_bytes() {
    let expected = include_str!("../../tests/data/deflate/expected.txt");
    let mut lines = 0;
    for line in expected.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let [level, kind, len, packed_len, hash] = fields[..] else { panic!("bad line {line:?}") };
        let packed = zlib(level.parse().unwrap(), &make(kind, len.parse().unwrap()));
        assert_eq!(packed.len(), packed_len.parse::<usize>().unwrap(), "{line}");
        assert_eq!(fnv(&packed), u64::from_str_radix(hash, 16).unwrap(), "{line}");
        lines += 1;
    }
    assert_eq!(lines, 9 * (4 * 7 + 6));
}

#[test]
fn inflate_gives_the_input_back() {
    for kind in ["zeros", "noise", "letters", "copies", "skewed"] {
        let input = make(kind, 50_000);
        for level in [1, 6, 9] {
            let mut inflate = flate2::Decompress::new(true);
            let mut output = Vec::with_capacity(input.len() + 1);
            let packed = zlib(level, &input);
            let status = inflate.decompress_vec(&packed, &mut output, flate2::FlushDecompress::Finish);
            assert_eq!(status.unwrap(), flate2::Status::StreamEnd);
            assert_eq!(inflate.total_in() as usize, packed.len());
            assert!(output == input, "{kind} at level {level}");
        }
    }
}
