//! Block checksums over the usual block (128 KiB) and the smallest (512 bytes).

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use zstream_format::algorithm::ChecksumType;
use zstream_format::checksum::{Salt, checksum};
use zstream_format::order::ByteOrder;

const KINDS: [ChecksumType; 7] = [
    ChecksumType::FLETCHER_2,
    ChecksumType::FLETCHER_4,
    ChecksumType::SHA256,
    ChecksumType::SHA512,
    ChecksumType::SKEIN,
    ChecksumType::EDONR,
    ChecksumType::BLAKE3,
];

fn blocks(c: &mut Criterion) {
    let salt = Salt::new([0x5a; Salt::SIZE]);
    let mut group = c.benchmark_group("checksum");
    for len in [512u32, 128 << 10] {
        let data: Vec<u8> = (0..len).map(|i| (i.wrapping_mul(0x9e37_79b9) >> 24) as u8).collect();
        group.throughput(Throughput::Bytes(u64::from(len)));
        for kind in KINDS {
            if checksum(kind, &data, ByteOrder::NATIVE, Some(&salt)).is_err() {
                continue;
            }
            group.bench_function(BenchmarkId::new(kind.to_string(), len), |b| {
                b.iter(|| checksum(kind, black_box(&data), ByteOrder::NATIVE, Some(&salt)));
            });
        }
    }
}

criterion_group!(benches, blocks);
criterion_main!(benches);
