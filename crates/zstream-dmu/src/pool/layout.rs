//! The sizes of the vdevs of a new pool and of their metaslabs.

use crate::error::{Fault, Result};
use crate::vdev::label::LABEL_BYTES;
use crate::vdev::{LEAF_DATA_START, MEMBER_BYTES_MIN};

/// The size of the two labels at the end of a member.
const END_BYTES: u64 = 2 * LABEL_BYTES;

/// The logarithms of the metaslab size: default, minimum, maximum.
const METASLAB_SHIFT_DEFAULT: u8 = 29;
const METASLAB_SHIFT_MIN: u8 = 24;
const METASLAB_SHIFT_MAX: u8 = 34;

/// The number of metaslabs of a vdev: minimum, default, maximum.
const METASLABS_MIN: u64 = 16;
const METASLABS_DEFAULT: u64 = 200;
const METASLABS_MAX: u64 = 1 << 17;

/// Returns the allocatable size of a member of `len` bytes, which excludes labels and boot area.
///
/// # Errors
/// Fails if the member is too small for a pool.
pub fn member_asize(len: u64) -> Result<u64> {
    if len < MEMBER_BYTES_MIN {
        let why = format!("member is {len} bytes, at least {MEMBER_BYTES_MIN} are required");
        return Err(Fault::TooSmall(why).into());
    }
    Ok(len - len % LABEL_BYTES - LEAF_DATA_START - END_BYTES)
}

/// Returns the logarithm of the metaslab size of a vdev of `asize` bytes (`vdev_metaslab_set_size`).
///
/// There are about 16 metaslabs up to 8 GiB, one per 512 MiB up to 100 GiB, about 200 up to 3 TiB, and one per 16 GiB
/// above.
#[must_use]
pub(crate) fn metaslab_shift(asize: u64) -> u8 {
    let bits = |bytes: u64| (u64::BITS - bytes.leading_zeros()) as u8;
    let count = asize >> METASLAB_SHIFT_DEFAULT;
    let shift = if count < METASLABS_MIN {
        bits(asize / METASLABS_MIN)
    } else if count > METASLABS_DEFAULT {
        bits(asize / METASLABS_DEFAULT)
    } else {
        METASLAB_SHIFT_DEFAULT
    };
    if shift <= METASLAB_SHIFT_MAX {
        return shift.max(METASLAB_SHIFT_MIN);
    }
    if asize >> METASLAB_SHIFT_MAX > METASLABS_MAX { bits(asize / METASLABS_MAX) } else { METASLAB_SHIFT_MAX }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vdev::Shape;

    #[test]
    fn sizes_are_those_of_golden_pools() {
        let member = member_asize(64 << 20).unwrap();
        assert_eq!(member, 62_390_272);
        assert_eq!(member_asize((64 << 20) + 262_143).unwrap(), member);
        assert_eq!(member_asize(160 << 20).unwrap(), 163_053_568);
        assert_eq!(Shape::Raidz(2).asize(&[member; 5]), 311_951_360);
        assert_eq!(Shape::Mirror.asize(&[member, member + 1]), member);
        assert_eq!((metaslab_shift(163_053_568), metaslab_shift(311_951_360)), (24, 25));
        assert!(member_asize((64 << 20) - 1).unwrap_err().to_string().contains("67108864"));
    }

    #[test]
    fn the_number_of_metaslabs_stays_in_its_range() {
        assert_eq!(metaslab_shift(1 << 26), 24);
        assert_eq!(metaslab_shift(8 << 30), 29);
        assert_eq!(metaslab_shift(100 << 30), 29);
        assert_eq!(metaslab_shift(1 << 40), 33);
        assert_eq!(metaslab_shift(1 << 43), 34);
        assert_eq!(metaslab_shift(1 << 53), 37);
        for asize in (26..60).map(|shift| (1_u64 << shift) + (1 << (shift - 1))) {
            assert!(asize >> metaslab_shift(asize) <= METASLABS_MAX, "{asize}");
            assert!(asize >> metaslab_shift(asize) >= 2, "{asize}");
        }
    }
}
