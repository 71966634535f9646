//! The rules of what a raw stream says of its keys: one that breaks just this one is refused with the errno of OpenZFS, and the
//! pool is as it was.

use zstream_dsl::testing::remove_entry;
use zstream_format::errno::Errno;
use zstream_tests::golden;
use zstream_tests::receiving::{Demo, target};
use zstream_tests::refusals::{Bench, Edit, guid_of, keydata, list};

use Errno::{EACCES, EINVAL, ENOENT, ENOTSUP};

const FULL: &str = "e-aes-256-gcm-raw";
const INCREMENT: &str = "e-aes-256-gcm-raw-incr";

/// A number gets another value.
fn number(key: &'static str, value: u64) -> Edit {
    keydata(move |keys| {
        assert_eq!(keys.remove(key), 1, "{key}");
        keys.add_u64(key, value);
    })
}

fn missing(key: &'static str) -> Edit {
    keydata(move |keys| assert_eq!(keys.remove(key), 1, "{key}"))
}

/// An array of bytes gets one byte more.
fn longer(key: &'static str) -> Edit {
    keydata(move |keys| {
        let mut bytes = keys.get_u8_array(key).expect(key).to_vec();
        bytes.push(0);
        keys.remove(key);
        keys.add_u8_array(key, bytes);
    })
}

#[test]
fn of_a_full_stream() {
    let bench = Bench::over(Demo::new("a", 12, 128 << 20));
    let refuses = |what: &str, edit: &Edit, errno| {
        bench.refuses_edited(what, FULL, edit, &target("demo/new@s"), errno);
    };
    refuses("no keys", &list(|list| assert_eq!(list.remove("crypt_keydata"), 1)), ENOENT);
    for (key, value, errno) in [
        ("mdn_compress", 15, EINVAL),
        ("mdn_checksum", 9, EINVAL),
        ("mdn_nlevels", 13, EINVAL),
        ("mdn_blksz", 256, EINVAL),
        ("mdn_blksz", 32 << 20, ENOTSUP),
        ("mdn_indblkshift", 11, ENOTSUP),
        ("mdn_indblkshift", 18, ENOTSUP),
        ("mdn_nblkptr", 2, ENOTSUP),
        ("DSL_CRYPTO_SUITE", 0, EINVAL),
        ("DSL_CRYPTO_SUITE", 2, EINVAL),
        ("DSL_CRYPTO_SUITE", 9, Errno::ZFS_ERR_CRYPTO_NOTSUP),
        ("DSL_CRYPTO_VERSION", 0, ENOTSUP),
        ("DSL_CRYPTO_VERSION", 2, ENOTSUP),
        ("keyformat", 0, EINVAL),
        ("keyformat", 4, EINVAL),
        // A key that is no passphrase is not made by rounds.
        ("keyformat", 1, EINVAL),
        ("pbkdf2iters", 0, EINVAL),
        ("pbkdf2salt", 0, EINVAL),
    ] {
        refuses(&format!("{key} {value}"), &number(key, value), errno);
    }
    for (key, errno) in [
        ("mdn_compress", EINVAL),
        ("mdn_checksum", EINVAL),
        ("mdn_nlevels", EINVAL),
        ("mdn_blksz", EINVAL),
        ("mdn_indblkshift", ENOTSUP),
        ("mdn_nblkptr", ENOTSUP),
        ("mdn_maxblkid", EINVAL),
        ("portable_mac", EINVAL),
        ("DSL_CRYPTO_SUITE", EINVAL),
        ("DSL_CRYPTO_GUID", EINVAL),
        ("DSL_CRYPTO_VERSION", ENOTSUP),
        ("DSL_CRYPTO_MASTER_KEY_1", EINVAL),
        ("DSL_CRYPTO_HMAC_KEY_1", EINVAL),
        ("DSL_CRYPTO_IV", EINVAL),
        ("DSL_CRYPTO_MAC", EINVAL),
        ("keyformat", EINVAL),
        ("pbkdf2iters", EINVAL),
        ("pbkdf2salt", EINVAL),
    ] {
        refuses(&format!("{key} is missing"), &missing(key), errno);
    }
    for key in [
        "portable_mac",
        "DSL_CRYPTO_MASTER_KEY_1",
        "DSL_CRYPTO_HMAC_KEY_1",
        "DSL_CRYPTO_IV",
        "DSL_CRYPTO_MAC",
    ] {
        refuses(&format!("{key} is longer"), &longer(key), EINVAL);
    }
}

/// An increment fits the keys, the encryption and the table of objects that it was made from.
#[test]
fn of_an_increment() {
    let demo = Demo::new("a", 12, 128 << 20);
    demo.receive(&golden::stream(FULL), &target("demo/e@s"), &[]).unwrap();
    demo.receive(&golden::stream("e-aes-128-ccm-raw"), &target("demo/other@s"), &[]).unwrap();
    let bench = Bench::over(demo);
    bench.takes("as it is", &golden::stream(INCREMENT), &target("demo/e@t"));
    let (missing_ivset, other_ivset) =
        (Errno::ZFS_ERR_FROM_IVSET_GUID_MISSING, Errno::ZFS_ERR_FROM_IVSET_GUID_MISMATCH);
    for (what, edit, errno) in [
        ("IV set of the source is missing", missing("from_ivset_guid"), missing_ivset),
        ("IV set of the source is 0", number("from_ivset_guid", 0), missing_ivset),
        ("another IV set", number("from_ivset_guid", 12345), other_ivset),
        ("other keys", number("DSL_CRYPTO_GUID", 12345), EACCES),
        ("another number of levels", number("mdn_nlevels", 3), EINVAL),
        ("larger blocks of dnodes", number("mdn_blksz", 32 << 10), EINVAL),
        ("smaller indirect blocks", number("mdn_indblkshift", 14), EINVAL),
    ] {
        bench.refuses_edited(what, INCREMENT, &edit, &target("demo/e@t"), errno);
    }
    let other = zstream_tests::refusals::from(guid_of("e-aes-128-ccm-raw"));
    bench.refuses_edited("of another dataset", INCREMENT, &other, &target("demo/other@t"), other_ivset);
}

/// A snapshot that was made before IV sets had guids has none: nothing can be told to fit it.
#[test]
fn of_an_increment_onto_what_has_no_iv_set() {
    let demo = Demo::new("a", 12, 128 << 20);
    demo.receive(&golden::stream(FULL), &target("demo/e@s"), &[]).unwrap();
    demo.change(|pool| {
        let snapshot = pool.dsl().dataset("demo/e@s").unwrap().object();
        assert!(remove_entry(&mut pool.tx(), snapshot, "com.datto:ivset_guid").unwrap());
        pool.commit().unwrap();
    });
    let bench = Bench::over(demo);
    let missing_ivset = Errno::ZFS_ERR_FROM_IVSET_GUID_MISSING;
    bench.refuses("as it is", &golden::stream(INCREMENT), &target("demo/e@t"), missing_ivset);
}
