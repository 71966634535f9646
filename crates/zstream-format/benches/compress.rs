//! Speed of every codec, on blocks of 128 KiB of text-like data and of noise, in bytes of the logical block.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use zstream_format::compress::{Compression, compress_into, decompress};

const BLOCK: usize = 128 << 10;

fn noise(seed: u32) -> impl Iterator<Item = u32> {
    std::iter::successors(Some(seed), |n| Some(n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223)))
        .map(|n| n >> 16)
}

/// Words with the frequencies of a language, more or less: low ones are common.
fn text() -> Vec<u8> {
    let mut words = noise(7).map(|n| {
        let rank = ((n & 0x3ff) * (n >> 6 & 0x3ff)) >> 10;
        noise(rank).take(2 + rank as usize % 9).map(|n| b'a' + (n % 26) as u8).collect::<Vec<_>>()
    });
    let mut text = Vec::with_capacity(BLOCK + 16);
    while text.len() < BLOCK {
        text.extend(words.next().expect("noise does not end"));
        text.push(b' ');
    }
    text.truncate(BLOCK);
    text
}

fn codecs(c: &mut Criterion) {
    let random: Vec<u8> = noise(3).map(|n| n as u8).take(BLOCK).collect();
    let mut names = vec!["lzjb", "zle"];
    if cfg!(feature = "lz4") {
        names.push("lz4");
    }
    if cfg!(feature = "gzip") {
        names.extend(["gzip-1", "gzip", "gzip-9"]);
    }
    if cfg!(feature = "zstd") {
        names.extend(["zstd-fast-10", "zstd", "zstd-9", "zstd-19"]);
    }
    for (data, block) in [("text", text()), ("random", random)] {
        for name in &names {
            let setting: Compression = name.parse().expect("names of codecs");
            let mut payload = vec![0; BLOCK * 2];
            let made = compress_into(setting.kind, setting.level, &block, &mut payload)
                .expect("codecs are compiled in")
                .expect("there is room");
            let mut group = c.benchmark_group(data);
            group.throughput(Throughput::Bytes(BLOCK as u64)).sample_size(10);
            group.bench_function(BenchmarkId::new("decompress", format!("{name} ({made} bytes)")), |b| {
                let mut out = vec![0; BLOCK];
                b.iter(|| decompress(setting.kind, black_box(&payload[..made]), &mut out));
            });
            // As pools do: an eighth has to be saved.
            group.bench_function(BenchmarkId::new("compress", name), |b| {
                let mut out = vec![0; BLOCK - BLOCK / 8];
                b.iter(|| compress_into(setting.kind, setting.level, black_box(&block), &mut out));
            });
        }
    }
}

criterion_group!(benches, codecs);
criterion_main!(benches);
