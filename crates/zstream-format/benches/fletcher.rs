//! Fletcher-4 by kernel, byte order and length. A kernel that no line here defends is taken out.
//!
//! 312 bytes is a record's header, 128 KiB the usual block. `chosen` is what [`Fletcher4::new`]
//! picks for the length.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use zstream_format::fletcher::{Fletcher4, Kernel, fletcher2, fletcher4, join};
use zstream_format::order::ByteOrder;

const LENGTHS: [usize; 6] = [32, 280, 312, 4 << 10, 128 << 10, 1 << 20];

fn data(len: usize) -> Vec<u8> {
    (0..len as u32).map(|i| (i.wrapping_mul(0x9e37_79b9) >> 24) as u8).collect()
}

fn kernels(c: &mut Criterion) {
    for order in [ByteOrder::NATIVE, ByteOrder::NATIVE.swapped()] {
        let name = if order == ByteOrder::NATIVE { "native" } else { "swapped" };
        let mut group = c.benchmark_group(format!("fletcher4/{name}"));
        for len in LENGTHS {
            let data = data(len);
            group.throughput(Throughput::Bytes(len as u64));
            for kernel in Kernel::available() {
                group.bench_function(BenchmarkId::new(kernel.name(), len), |b| {
                    b.iter(|| {
                        let mut sum = Fletcher4::with_kernel(kernel, order);
                        sum.update(black_box(&data));
                        sum.value()
                    });
                });
            }
            group.bench_function(BenchmarkId::new("chosen", len), |b| {
                b.iter(|| fletcher4(black_box(&data), order));
            });
        }
    }
}

fn joins(c: &mut Criterion) {
    let first = fletcher4(&data(4096), ByteOrder::NATIVE);
    let second = fletcher4(&data(312), ByteOrder::NATIVE);
    c.bench_function("fletcher4/join", |b| {
        b.iter(|| join(black_box(first), black_box(second), black_box(312)));
    });
}

fn second(c: &mut Criterion) {
    let mut group = c.benchmark_group("fletcher2");
    let data = data(128 << 10);
    group.throughput(Throughput::Bytes(data.len() as u64));
    for (name, order) in [("native", ByteOrder::NATIVE), ("swapped", ByteOrder::NATIVE.swapped())] {
        group.bench_function(name, |b| b.iter(|| fletcher2(black_box(&data), order)));
    }
}

criterion_group!(benches, kernels, joins, second);
criterion_main!(benches);
