//! Fletcher-4. An input is where to cut (two u16, little-endian), and the bytes to sum.

use zstream_format::checksum::Checksum;
use zstream_format::fletcher::{Fletcher4, Kernel, fletcher4, join};
use zstream_format::order::ByteOrder;

/// All lengths around the widths of vector registers, and extreme words.
pub(super) fn corpus() -> Vec<Vec<u8>> {
    let lengths = [4usize, 8, 12, 64, 68, 128, 256, 260, 280, 312, 1024, 4096, 131_072];
    let filled = |len: usize, value: u8| [&[0x40, 0x00, 0x10, 0x01][..], &vec![value; len]].concat();
    lengths.iter().flat_map(|len| [filled(*len, 0xff), filled(*len, 0x5a)]).collect()
}

/// The four sums as the format defines them: word by word.
fn plain(data: &[u8], order: ByteOrder) -> Checksum {
    let mut sum = [0u64; 4];
    for word in data.chunks_exact(4) {
        sum[0] = sum[0].wrapping_add(order.u32(word).into());
        (1..4).for_each(|i| sum[i] = sum[i].wrapping_add(sum[i - 1]));
    }
    Checksum(sum)
}

/// Every kernel = word by word; updated in pieces = as a whole; parts joined = the whole.
pub(super) fn run(input: &[u8]) {
    let Some((cuts, data)) = input.split_first_chunk::<4>() else { return };
    let data = &data[..data.len() / 4 * 4];
    let cut =
        |at: usize| usize::from(u16::from_le_bytes([cuts[at], cuts[at + 1]])) * 4 % (data.len() + 1) / 4 * 4;
    let (first, second) = (cut(0).min(cut(2)), cut(0).max(cut(2)));
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let whole = plain(data, order);
        assert_eq!(fletcher4(data, order), whole, "the kernel");
        // An allocation that ends with the data: AddressSanitizer sees a kernel that reads on.
        let exact: Box<[u8]> = data.into();
        for kernel in Kernel::available() {
            let mut sum = Fletcher4::with_kernel(kernel, order);
            sum.update(&exact);
            assert_eq!(sum.value(), whole, "the kernel {}", kernel.name());
        }
        let parts = [&data[..first], &data[first..second], &data[second..]];
        let mut pieces = Fletcher4::new(order);
        parts.iter().for_each(|part| pieces.update(part));
        assert_eq!(pieces.value(), whole, "in pieces");
        let joined = parts
            .iter()
            .fold(Checksum::default(), |sum, part| join(sum, fletcher4(part, order), part.len() as u64));
        assert_eq!(joined, whole, "joined");
    }
}
