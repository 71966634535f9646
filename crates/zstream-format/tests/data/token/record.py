#!/usr/bin/env python3
"""Records what OpenZFS's libzfs says to tokens, sound and damaged.

usage: record.py REAL-TOKEN... > expected.txt    (needs libzfs.so.6 and libnvpair.so.3; no kernel module)

Each line: what is wrong with the token, the token, and libzfs's message or `ok`. libzfs is called without
libzfs_init (which wants the module): a zeroed handle is enough for zfs_send_resume_token_to_nvlist, which only
writes its message into it. The tokens that are no real ones are made with Python's zlib.
"""

import ctypes as C
import re
import struct
import sys
import zlib

zfs = C.CDLL("libzfs.so.6")
zfs.zfs_send_resume_token_to_nvlist.restype = C.c_void_p
zfs.zfs_send_resume_token_to_nvlist.argtypes = [C.c_void_p, C.c_char_p]


def judge(token):
    handle = C.create_string_buffer(1 << 16)
    if zfs.zfs_send_resume_token_to_nvlist(handle, token.encode()):
        return "ok"
    return re.search(rb"resume token is corrupt \([^)]*\)", handle.raw)[0].decode()


def a8(data):
    return data + bytes(-len(data) % 8)


def pair(name, kind, count, value):
    named = a8(bytes(16) + name.encode() + b"\0")[16:]
    size = 16 + len(named) + len(a8(value))
    return struct.pack("<ihhii", size, len(name) + 1, 0, count, kind) + named + a8(value)


def number(name, value):
    return pair(name, 8, 1, struct.pack("<Q", value))


def numbers(name, values):
    return pair(name, 16, len(values), struct.pack(f"<{len(values)}Q", *values))


def text(name, value):
    return pair(name, 9, 1, value.encode() + b"\0")


def flag(name):
    return pair(name, 1, 0, b"")


def packed(*pairs):
    return b"\0\1\0\0" + struct.pack("<II", 0, 1) + b"".join(pairs) + bytes(4)


def checksum(data):
    return sum(struct.unpack_from(f"<{len(data) // 4}I", data))


def token(data, compressed=None, version=1, length=None, wrong=0):
    compressed = zlib.compress(data, 6) if compressed is None else compressed
    length = len(data) if length is None else length
    return f"{version}-{checksum(compressed) + wrong:x}-{length:x}-{compressed.hex()}"


BASE = (
    number("object", 2),
    number("offset", 28672),
    number("bytes", 203680),
    number("toguid", 6203836143414058753),
    text("toname", "tp/a@s1"),
)
SOUND = packed(*BASE)
REDACT = numbers("redact_snaps", [0xEAB134A7949BF8EE, 0x9A46C1F6A40A084A])
BOOK = numbers("book_redact_snaps", [])
FLAGS = [flag(name) for name in ("largeblockok", "embedok", "compressok", "rawok")]
GOOD = token(SOUND)
PARTS = GOOD.split("-")

CASES = [("a real one", real) for real in sys.argv[1:]]
CASES += [
    ("made", GOOD),
    ("all values", token(packed(number("fromguid", 99), *BASE, *FLAGS, REDACT, BOOK))),
    ("an unknown value", token(packed(*BASE, text("savedok", "new"), flag("other")))),
    ("many redaction snapshots", token(packed(*BASE, numbers("redact_snaps", [i * 0x9E3779B97F4A7C15 % 2**64 for i in range(300)])))),
    ("no values at all", token(packed())),
    ("upper-case hex", "-".join([*PARTS[:3], PARTS[3].upper()])),
    ("an odd digit more", GOOD + "7"),
    ("bytes behind the zlib stream", token(SOUND, zlib.compress(SOUND, 6) + b"\0")),
    ("a field too many", "-".join([*PARTS[:3], "zz", PARTS[3]])),
    ("nothing", ""),
    ("no fields", "hello"),
    ("one field", "1"),
    ("two fields", "1-abc"),
    ("letters for a version", "x-" + "-".join(PARTS[1:])),
    ("letters for a checksum", f"1-xyz-{PARTS[2]}-{PARTS[3]}"),
    ("letters for a length", f"1-{PARTS[1]}-xyz-{PARTS[3]}"),
    ("version 0", token(SOUND, version=0)),
    ("version 2", token(SOUND, version=2)),
    ("no hex", GOOD[:-2] + "zz"),
    ("a newline", GOOD + "\n\n"),
    ("another checksum", token(SOUND, wrong=1)),
    ("a digit changed", GOOD[:60] + ("0" if GOOD[60] != "0" else "1") + GOOD[61:]),
    ("a payload cut short", GOOD[:-16]),
    ("an empty payload", "-".join(PARTS[:3]) + "-"),
    ("no zlib stream", token(SOUND, SOUND)),
    ("a zlib stream cut short", token(SOUND, zlib.compress(SOUND, 6)[:-8])),
    ("Adler-32 wrong", token(SOUND, zlib.compress(SOUND, 6)[:-4] + b"\1\2\3\4")),
    ("a length too short", token(SOUND, length=len(SOUND) - 1)),
    ("a length too long", token(SOUND, length=len(SOUND) + 1)),
    ("a length of 0", token(SOUND, length=0)),
    ("no list", token(b"this is no list")),
    ("a list without end", token(SOUND[:-4])),
]

for name, made in CASES:
    print(name, made.replace("\n", "\\n"), judge(made), sep="\t")
