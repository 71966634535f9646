//! Comparisons of every kernel with the portable one, and of sums with those of their parts.

use proptest::prelude::*;

use super::*;

const ORDERS: [ByteOrder; 2] = [ByteOrder::Little, ByteOrder::Big];

/// The loop in the documentation of the module, written as simply as possible.
fn plain(state: Checksum, data: &[u8], order: ByteOrder) -> Checksum {
    let [mut a, mut b, mut c, mut d] = state.0;
    for word in data.chunks_exact(4) {
        a = a.wrapping_add(u64::from(order.u32(word)));
        b = b.wrapping_add(a);
        c = c.wrapping_add(b);
        d = d.wrapping_add(c);
    }
    Checksum([a, b, c, d])
}

fn order() -> impl Strategy<Value = ByteOrder> {
    prop_oneof![Just(ByteOrder::Little), Just(ByteOrder::Big)]
}

/// Bytes with long runs of ones, so that sums carry.
fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..max),
        proptest::collection::vec(prop_oneof![Just(0xffu8), any::<u8>()], 0..max),
    ]
}

proptest! {
    #[test]
    fn kernels_agree_at_every_length_and_alignment(
        data in bytes(3000), skip in 0usize..64, order in order(), state in any::<[u64; 4]>(),
    ) {
        let data = &data[skip.min(data.len())..];
        let expected = plain(Checksum(state), data, order);
        for kernel in Kernel::available() {
            let mut sum = Fletcher4 { state, ..Fletcher4::with_kernel(kernel, order) };
            sum.update(data);
            prop_assert_eq!(sum.value(), expected, "{:?}", kernel);
        }
        let mut sum = Fletcher4::from_state(Checksum(state), order);
        sum.update(data);
        prop_assert_eq!(sum.value(), expected);
    }

    #[test]
    fn updates_split_anywhere(data in bytes(3000), cuts in proptest::collection::vec(0usize..750, 0..5), order in order()) {
        let mut sum = Fletcher4::new(order);
        let mut rest = &data[..];
        for cut in cuts {
            let (part, behind) = rest.split_at((cut * 4).min(rest.len()));
            if behind.is_empty() {
                break;
            }
            sum.update(part);
            rest = behind;
        }
        sum.update(rest);
        prop_assert_eq!(sum.value(), fletcher4(&data, order));
    }

    #[test]
    fn parts_join(data in bytes(3000), cuts in proptest::collection::vec(0usize..750, 0..5), order in order()) {
        let mut sum = Fletcher4::new(order);
        let mut rest = &data[..];
        for cut in cuts {
            let (part, behind) = rest.split_at((cut * 4).min(rest.len() / 4 * 4));
            sum.append(fletcher4(part, order), part.len() as u64);
            rest = behind;
        }
        sum.append(fletcher4(rest, order), rest.len() as u64);
        prop_assert_eq!(sum.value(), fletcher4(&data, order));
    }

    #[test]
    fn swapped_words_sum_alike_in_the_other_order(mut data in bytes(3000), order in order()) {
        let sum = fletcher4(&data, order);
        for word in data.chunks_exact_mut(4) {
            word.reverse();
        }
        prop_assert_eq!(fletcher4(&data, order.swapped()), sum);
    }
}

/// The maximum block, with every bit set, starting from a full state: each sum wraps many times.
#[test]
fn kernels_agree_on_a_full_record() {
    let data = vec![0xff; 16 << 20];
    for order in ORDERS {
        let expected = plain(Checksum([u64::MAX; 4]), &data, order);
        for kernel in Kernel::available() {
            let mut sum = Fletcher4 { state: [u64::MAX; 4], ..Fletcher4::with_kernel(kernel, order) };
            sum.update(&data);
            assert_eq!(sum.value(), expected, "{kernel:?}");
        }
    }
}

#[test]
fn small_sums_by_hand() {
    let data = [1, 0, 0, 0, 2, 0, 0, 0, 9, 9, 9];
    assert_eq!(fletcher4(&data, ByteOrder::Little), Checksum([3, 4, 5, 6]));
    assert_eq!(fletcher4(&data, ByteOrder::Big), Checksum([3 << 24, 4 << 24, 5 << 24, 6 << 24]));
    assert!(fletcher4(&[7, 7, 7], ByteOrder::Little).is_zero());
}

#[test]
fn kernels_have_their_own_names() {
    let names: Vec<_> = Kernel::available().map(Kernel::name).collect();
    assert_eq!(names[0], "portable");
    assert!(names.iter().enumerate().all(|(i, name)| !names[..i].contains(name)));
    assert_eq!(Kernel::for_len(8).name(), "portable");
    assert_eq!(Kernel::for_len(1 << 20).name(), *names.last().unwrap());
}
