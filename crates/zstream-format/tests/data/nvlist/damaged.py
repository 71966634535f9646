#!/usr/bin/env python3
"""Records which unsound packed lists libnvpair refuses, and with which errno.

usage: damaged.py > damaged.txt    (needs libnvpair.so.3, x86-64 Linux)

Each line: what is unsound, the packed list in hex, nvlist_unpack's errno or 0.
"""

import ctypes as C
import struct

nv = C.CDLL("libnvpair.so.3")


def judge(data):
    unpacked = C.c_void_p()
    return nv.nvlist_unpack(data, C.c_size_t(len(data)), C.byref(unpacked), 0)


def le(*values):
    return struct.pack(f"<{len(values)}i", *values)


def be(*values):
    return struct.pack(f">{len(values)}i", *values)


def a8(data):
    return data + bytes(-len(data) % 8)


def a4(data):
    return data + bytes(-len(data) % 4)


def native_pair(name, kind, count, value, size=None, name_size=None):
    named = a8(bytes(16) + name + b"\0")[16:]
    size = 16 + len(named) + len(a8(value)) if size is None else size
    name_size = len(name) + 1 if name_size is None else name_size
    return struct.pack("<ihhii", size, name_size, 0, count, kind) + named + a8(value)


def native(*pairs, version=0, flag=1, end=le(0)):
    return b"\0\1\0\0" + le(version, flag) + b"".join(pairs) + end


def xdr_pair(name, kind, count, value, decoded, encoded=None):
    encoded = 20 + len(a4(name)) + len(value) if encoded is None else encoded
    return be(encoded, decoded, len(name)) + a4(name) + be(kind, count) + value


def xdr(*pairs, version=0, flag=1, end=be(0, 0)):
    return b"\1\1\0\0" + be(version, flag) + b"".join(pairs) + end


N = struct.pack("<Q", 5)
X = struct.pack(">Q", 5)

CASES = {
    "nothing": b"",
    "half a header": b"\0\1",
    "only a header": b"\0\1\0\0",
    "encoding 2": b"\2\1" + native()[2:],
    "native, another version": native(version=1),
    "native, size too large": native(native_pair(b"a", 8, 1, N + bytes(8))),
    "native, size too small": native(native_pair(b"a", 8, 1, N, size=24)),
    "native, size not of 8": native(native_pair(b"a", 8, 1, N, size=33)),
    "native, size negative": native(native_pair(b"a", 8, 1, N, size=-8)),
    "native, size of half a pair": native(native_pair(b"a", 8, 1, N, size=8)),
    "native, size past the end": native(native_pair(b"a", 8, 1, N, size=4096)),
    "native, name size too large": native(native_pair(b"a", 8, 1, N, name_size=3)),
    "native, name size past the pair": native(native_pair(b"a", 8, 1, N, name_size=300)),
    "native, name size 0": native(native_pair(b"a", 8, 1, N, name_size=0)),
    "native, name size negative": native(native_pair(b"a", 8, 1, N, name_size=-2)),
    "native, name without NUL": native(native_pair(b"abc", 8, 1, N, name_size=3)),
    "native, NUL in a name": native(native_pair(b"a\0c", 8, 1, N)),
    "native, type 0": native(native_pair(b"a", 0, 1, N)),
    "native, type 28": native(native_pair(b"a", 28, 1, N)),
    "native, two elements of one": native(native_pair(b"a", 8, 2, N + N)),
    "native, no element of one": native(native_pair(b"a", 8, 0, b"")),
    "native, elements of a boolean": native(native_pair(b"a", 1, 1, b"")),
    "native, negative count": native(native_pair(b"a", 16, -1, N)),
    "native, huge count": native(native_pair(b"a", 16, 0x20000001, N)),
    "native, count too large": native(native_pair(b"a", 16, 3, N)),
    "native, count too small": native(native_pair(b"a", 16, 1, N + N)),
    "native, boolean 2": native(native_pair(b"a", 21, 1, le(2))),
    "native, boolean 2 in an array": native(native_pair(b"a", 24, 2, le(1, 2))),
    "native, padding not zero": native(native_pair(b"a", 21, 1, le(1) + b"\1\1\1\1")),
    "native, string without NUL": native(native_pair(b"a", 9, 1, b"12345678")),
    "native, string too short": native(native_pair(b"a", 9, 1, b"1" + bytes(15))),
    "native, strings without NUL": native(native_pair(b"a", 17, 1, bytes(8) + b"12345678")),
    "native, more strings than bytes": native(native_pair(b"a", 17, 1 << 28, bytes(16))),
    "native, no end": native(native_pair(b"a", 8, 1, N), end=b""),
    "native, bytes behind": native(native_pair(b"a", 8, 1, N)) + b"xyz",
    "native, version of an embedded list": native(native_pair(b"a", 19, 1, le(1, 1) + bytes(16)) + le(0)),
    "native, pointers in an embedded list": native(native_pair(b"a", 19, 1, le(0, 1) + b"\1" * 16) + le(0)),
    "native, embedded list without end": native(native_pair(b"a", 19, 1, le(0, 1) + bytes(16)), end=b""),
    "native, more lists than bytes": native(native_pair(b"a", 20, 1 << 26, bytes(32))),
    "xdr, byte order 0": b"\1\0\0\0" + xdr()[4:],
    "xdr, byte order 9": b"\1\x09\0\0" + xdr()[4:],
    "xdr, another version": xdr(version=1),
    "xdr, decoded size too large": xdr(xdr_pair(b"a", 8, 1, X, 40)),
    "xdr, decoded size too small": xdr(xdr_pair(b"a", 8, 1, X, 24)),
    "xdr, decoded size not of 8": xdr(xdr_pair(b"a", 8, 1, X, 33)),
    "xdr, decoded size negative": xdr(xdr_pair(b"a", 8, 1, X, -32)),
    "xdr, decoded size huge": xdr(xdr_pair(b"a", 8, 1, X, 0x7FFFFFF8)),
    "xdr, decoded size 0": xdr(xdr_pair(b"a", 8, 1, X, 0)),
    "xdr, encoded size 0": xdr(xdr_pair(b"a", 8, 1, X, 32, encoded=0)),
    "xdr, encoded size wrong": xdr(xdr_pair(b"a", 8, 1, X, 32, encoded=77)),
    "xdr, boolean 2": xdr(xdr_pair(b"a", 21, 1, be(2), 32)),
    "xdr, boolean 2 in an array": xdr(xdr_pair(b"a", 24, 1, be(1, 2), 32)),
    "xdr, two counts": xdr(xdr_pair(b"a", 16, 1, be(2) + X, 32)),
    "xdr, huge count": xdr(xdr_pair(b"a", 16, 0x10000000, be(0x10000000) + X, 32)),
    "xdr, huge count of lists": xdr(xdr_pair(b"a", 20, 0x04000000, be(0, 1, 0, 0), 32)),
    "xdr, huge count of strings": xdr(xdr_pair(b"a", 17, 0x04000000, be(0, 0), 32)),
    "xdr, word that is no uint8": xdr(xdr_pair(b"a", 23, 1, be(0x1FF), 32)),
    "xdr, word that is no int16": xdr(xdr_pair(b"a", 3, 1, be(0x1FFFF), 32)),
    "xdr, NUL in a string": xdr(xdr_pair(b"a", 9, 1, be(3) + b"a\0b\0", 32)),
    "xdr, NUL in a name": xdr(xdr_pair(b"a\0b", 8, 1, X, 32)),
    "xdr, string past the end": xdr(xdr_pair(b"a", 9, 1, be(0x7FFFFFFF) + b"abcd", 32)),
    "xdr, padding not zero": xdr(xdr_pair(b"a", 9, 1, be(1) + b"a123", 32)),
    "xdr, type 0": xdr(xdr_pair(b"a", 0, 1, X, 32)),
    "xdr, type 28": xdr(xdr_pair(b"a", 28, 1, X, 32)),
    "xdr, type negative": xdr(xdr_pair(b"a", -1, 1, X, 32)),
    "xdr, two elements of one": xdr(xdr_pair(b"a", 8, 2, X + X, 40)),
    "xdr, no element of one": xdr(xdr_pair(b"a", 8, 0, b"", 24)),
    "xdr, elements of a boolean": xdr(xdr_pair(b"a", 1, 1, b"", 24)),
    "xdr, negative count": xdr(xdr_pair(b"a", 16, -1, b"", 24)),
    "xdr, version of an embedded list": xdr(xdr_pair(b"a", 19, 1, be(1, 1, 0, 0), 48)),
    "xdr, half an end": xdr(end=be(0)),
    "xdr, no end": xdr(end=b""),
}

for name, data in CASES.items():
    print(name, data.hex(), judge(data), sep="\t")
