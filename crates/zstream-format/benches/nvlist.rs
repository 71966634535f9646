//! Packing and unpacking the header of a large package: 2000 filesystems of 10 snapshots each.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use zstream_format::nvlist::{NvList, Packed};
use zstream_format::order::ByteOrder;

fn package() -> NvList {
    let mut filesystems = NvList::new();
    for number in 0..2000_u64 {
        let (mut snaps, mut snap_props) = (NvList::new(), NvList::new());
        for day in 0..10 {
            let name = format!("zfs-auto-snap_daily-2024-06-{day:02}-0425");
            snaps.add_u64(&*name, number << 32 | day);
            snap_props.add_list(name, NvList::new());
        }
        let mut props = NvList::new();
        props.add_u64("recordsize", 1 << 17).add_string("org.example:backup", "daily");
        let mut filesystem = NvList::new();
        filesystem
            .add_string("name", format!("tank/home/user{number}"))
            .add_u64("parentfromsnap", 0x0123_4567_89ab_cdef)
            .add_list("props", props)
            .add_list("snaps", snaps)
            .add_list("snapprops", snap_props);
        filesystems.add_list(format!("{:#x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15)), filesystem);
    }
    let mut list = NvList::new();
    list.add_string("tosnap", "zfs-auto-snap_daily-2024-06-09-0425").add_list("fss", filesystems);
    list
}

fn nvlist(criterion: &mut Criterion) {
    let list = package();
    let mut group = criterion.benchmark_group("nvlist");
    for (name, packed) in [
        ("xdr", Packed::xdr(ByteOrder::Little)),
        ("native", Packed::native(ByteOrder::Little)),
        ("native-foreign", Packed::native(ByteOrder::Big)),
    ] {
        let bytes = list.encode(packed).unwrap();
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group
            .bench_function(format!("encode/{name}"), |b| b.iter(|| list.encode(black_box(packed)).unwrap()));
        group.bench_function(format!("decode/{name}"), |b| {
            b.iter(|| NvList::decode(black_box(&bytes)).unwrap());
        });
    }
    group.bench_function("print", |b| b.iter(|| black_box(&list).print()));
    group.finish();
}

criterion_group!(benches, nvlist);
criterion_main!(benches);
