#!/usr/bin/env python3
"""Makes the pool of `cargo xtask bench send` with OpenZFS's own code in user space (libzpool); no kernel module needed.

usage: send_pool.py FILE      (a new pool `bench` in FILE, 2.4 GiB of blocks)

 dataset   blocks            stored        as
 plain     1 GiB of 128 KiB  uncompressed  plain@s
 packed    1 GiB of 128 KiB  lz4, 2:1      packed@s
 small     1 GiB of 8 KiB    uncompressed  small@s
 long      8 GiB of 128 KiB  lz4, 30:1     long@1 when it has 1 GiB, long@8

Prints a line for each snapshot: its name and its objset, by which `zdb -B` knows it. Contents are the same every time.
"""
import ctypes as C, os, random, sys, tempfile

zp = C.CDLL("libzpool.so.6", mode=C.RTLD_GLOBAL)
nv = C.CDLL("libnvpair.so.3", mode=C.RTLD_GLOBAL)
P, S, U64, INT = C.c_void_p, C.c_char_p, C.c_uint64, C.c_int

# The numbers of OpenZFS's headers.
DMU_OST_OTHER, DMU_OT_PLAIN_FILE_CONTENTS, DMU_OT_NONE = 4, 19, 0
DMU_NEW_OBJECT, TXG_WAIT, ZPROP_SRC_LOCAL = 2**64 - 1, 1, 8
COMPRESS_OFF, COMPRESS_LZ4 = 2, 15

MIB, FILE_BYTES, CHUNK = 1 << 20, 5 << 30, 8 << 20
FEATURES = ["async_destroy", "empty_bpobj", "lz4_compress", "spacemap_histogram", "enabled_txg", "hole_birth",
            "extensible_dataset", "embedded_data", "bookmarks", "large_blocks"]


def sig(lib, name, res, *args):
    f = getattr(lib, name)
    f.restype, f.argtypes = res, args
    return f


def must(what, code):
    if code != 0:
        sys.exit(f"{what}: {os.strerror(code)}")


alloc = sig(nv, "fnvlist_alloc", P)
add_u64 = sig(nv, "fnvlist_add_uint64", None, P, S, U64)
add_str = sig(nv, "fnvlist_add_string", None, P, S, S)
add_arr = sig(nv, "fnvlist_add_nvlist_array", None, P, S, C.POINTER(P), C.c_uint)
spa_create = sig(zp, "spa_create", INT, S, P, P, P, P)
spa_export = sig(zp, "spa_export", INT, S, P, INT, INT)
objset_create = sig(zp, "dmu_objset_create", INT, S, INT, U64, P, P, P)
objset_own = sig(zp, "dmu_objset_own", INT, S, INT, INT, INT, P, C.POINTER(P))
objset_disown = sig(zp, "dmu_objset_disown", None, P, INT, P)
objset_hold = sig(zp, "dmu_objset_hold", INT, S, P, C.POINTER(P))
objset_rele = sig(zp, "dmu_objset_rele", None, P, P)
objset_id = sig(zp, "dmu_objset_id", U64, P)
snapshot_one = sig(zp, "dmu_objset_snapshot_one", INT, S, S)
set_int = sig(zp, "dsl_prop_set_int", INT, S, S, INT, U64)
tx_create = sig(zp, "dmu_tx_create", P, P)
tx_hold_bonus = sig(zp, "dmu_tx_hold_bonus", None, P, U64)
tx_hold_write = sig(zp, "dmu_tx_hold_write", None, P, U64, U64, INT)
tx_assign = sig(zp, "dmu_tx_assign", INT, P, U64)
tx_commit = sig(zp, "dmu_tx_commit", None, P)
object_alloc = sig(zp, "dmu_object_alloc", U64, P, INT, INT, INT, INT, P)
write = sig(zp, "dmu_write", None, P, U64, U64, U64, P, P)
TAG = C.cast(C.create_string_buffer(b"tag"), P)


def fill(name, content, block_bytes, from_mib, to_mib):
    """Objects of 128 MiB with `content` again and again."""
    os_ = P()
    must(f"own {name}", objset_own(name, DMU_OST_OTHER, 0, 0, TAG, C.byref(os_)))
    for at in range(from_mib, to_mib, 128):
        tx = tx_create(os_)
        tx_hold_bonus(tx, DMU_NEW_OBJECT)
        must("assign", tx_assign(tx, TXG_WAIT))
        object_ = object_alloc(os_, DMU_OT_PLAIN_FILE_CONTENTS, block_bytes, DMU_OT_NONE, 0, tx)
        tx_commit(tx)
        for offset in range(0, 128 * MIB, CHUNK):
            tx = tx_create(os_)
            tx_hold_write(tx, object_, offset, CHUNK)
            must("assign", tx_assign(tx, TXG_WAIT))
            write(os_, object_, offset, CHUNK, content, tx)
            tx_commit(tx)
    objset_disown(os_, 0, TAG)


def snapshot(name, snap):
    must(f"snapshot {name}@{snap}", snapshot_one(name.encode(), snap.encode()))
    full, os_ = f"{name}@{snap}", P()
    must(f"hold {full}", objset_hold(full.encode(), TAG, C.byref(os_)))
    print(full, objset_id(os_))
    objset_rele(os_, TAG)


def dataset(name, compression):
    must(f"create {name}", objset_create(name, DMU_OST_OTHER, 0, None, None, None))
    must(f"set {name}", set_int(name, b"compression", ZPROP_SRC_LOCAL, compression))


path = os.path.abspath(sys.argv[1])
with open(path, "xb") as f:
    f.truncate(FILE_BYTES)
# Without this libzpool writes the machine's own pool cache.
cache = os.path.join(tempfile.mkdtemp(), "zpool.cache").encode()
C.c_char_p.in_dll(zp, "spa_config_path").value = cache
zp.kernel_init(3)
leaf, root, props = alloc(), alloc(), alloc()
add_str(leaf, b"type", b"file")
add_str(leaf, b"path", path.encode())
add_u64(leaf, b"ashift", 12)
add_str(root, b"type", b"root")
add_arr(root, b"children", (P * 1)(leaf), 1)
for feature in FEATURES:
    add_u64(props, b"feature@" + feature.encode(), 0)
must("create the pool", spa_create(b"bench", root, props, None, None))

dice = random.Random(4)
noise = dice.randbytes(CHUNK)
words = [bytes(dice.choices(b"abcdefghijklmnopqrstuvwxyz", k=dice.randint(2, 9))) for _ in range(400)]
text = b" ".join(dice.choices(words, k=CHUNK // 3))[:CHUNK]
sparse = b"".join(dice.randbytes(1024) * 128 for _ in range(CHUNK // (128 << 10)))

for name, content, block_bytes, compression in (
    ("bench/plain", noise, 128 << 10, COMPRESS_OFF),
    ("bench/packed", text, 128 << 10, COMPRESS_LZ4),
    ("bench/small", noise, 8 << 10, COMPRESS_OFF),
):
    dataset(name.encode(), compression)
    fill(name.encode(), content, block_bytes, 0, 1024)
    snapshot(name, "s")
dataset(b"bench/long", COMPRESS_LZ4)
fill(b"bench/long", sparse, 128 << 10, 0, 1024)
snapshot("bench/long", "1")
fill(b"bench/long", sparse, 128 << 10, 1024, 8192)
snapshot("bench/long", "8")
must("export", spa_export(b"bench", None, 0, 0))
zp.kernel_fini()
