#!/usr/bin/env python3
"""Records what OpenZFS's libnvpair packs and prints for lists that hold every data type.

usage: record.py OUTDIR    (needs libnvpair.so.3, Linux; x86-64 for the little-endian native form)

Writes NAME.native and NAME.xdr (nvlist_pack), NAME.print (nvlist_print) and NAME.dump (dump_nvlist,
indented by 5).
"""

import ctypes as C
import os
import sys

nv = C.CDLL("libnvpair.so.3")
libc = C.CDLL(None)
libc.fopen.restype = C.c_void_p
libc.fopen.argtypes = [C.c_char_p, C.c_char_p]
libc.fclose.argtypes = [C.c_void_p]
out = sys.argv[1]


class List:
    def __init__(self, flag=1):
        self.p = C.c_void_p()
        assert nv.nvlist_alloc(C.byref(self.p), flag, 0) == 0

    def add(self, kind, name, *args):
        error = getattr(nv, "nvlist_add_" + kind)(self.p, name.encode(), *args)
        assert error == 0, (kind, name, error)

    def scalar(self, kind, ctype, name, value):
        self.add(kind, name, ctype(value))

    def array(self, kind, ctype, name, values):
        self.add(kind + "_array", name, (ctype * len(values))(*values), C.c_uint(len(values)))

    def string(self, name, value):
        self.add("string", name, C.c_char_p(value))

    def strings(self, name, values):
        self.add("string_array", name, (C.c_char_p * len(values))(*values), C.c_uint(len(values)))

    def list(self, name, inner):
        self.add("nvlist", name, inner.p)

    def lists(self, name, inner):
        self.add("nvlist_array", name, (C.c_void_p * len(inner))(*[i.p for i in inner]), C.c_uint(len(inner)))

    def record(self, name):
        for encoding, number in (("native", 0), ("xdr", 1)):
            buf, size = C.c_void_p(), C.c_size_t()
            assert nv.nvlist_pack(self.p, C.byref(buf), C.byref(size), number, 0) == 0
            with open(f"{out}/{name}.{encoding}", "wb") as file:
                file.write(C.string_at(buf, size.value))
        file = C.c_void_p(libc.fopen(f"{out}/{name}.print".encode(), b"w"))
        nv.nvlist_print(file, self.p)
        libc.fclose(file)
        # dump_nvlist only writes to standard output.
        stdout = os.dup(1)
        os.dup2(os.open(f"{out}/{name}.dump", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), 1)
        nv.dump_nvlist(self.p, 5)
        libc.fflush(None)
        os.dup2(stdout, 1)


def scalars(l):
    l.add("boolean", "boolean")
    for v in (0, 1):
        l.scalar("boolean_value", C.c_int, f"boolean_value {v}", v)
    for v in (0, 0x7F, 0x80, 0xFF):
        l.scalar("byte", C.c_ubyte, f"byte {v}", v)
        l.scalar("uint8", C.c_uint8, f"uint8 {v}", v)
    for bits in (8, 16, 32, 64):
        for v in (0, 1, (1 << (bits - 1)) - 1, -1, -(1 << (bits - 1)), 10):
            l.scalar(f"int{bits}", getattr(C, f"c_int{bits}"), f"int{bits} {v}", v)
    for bits in (16, 32, 64):
        for v in (0, 1, (1 << bits) - 1, 1 << (bits - 1), 10):
            l.scalar(f"uint{bits}", getattr(C, f"c_uint{bits}"), f"uint{bits} {v}", v)
    for v in (0, 1, -1, 0x0123456789ABCDEF):
        l.scalar("hrtime", C.c_longlong, f"hrtime {v}", v)
    l.string("string", b"text")
    l.string("string empty", b"")
    l.string("string latin1", b"caf\xe9 \t\"quoted\" \\")
    l.string("string utf8", "späti €".encode())
    l.string("", b"the name is empty")


def arrays(l, sizes):
    for n in sizes:
        l.array("boolean", C.c_int, f"boolean_array {n}", [i & 1 for i in range(n)])
        l.array("byte", C.c_ubyte, f"byte_array {n}", [(i * 53 + 120) & 255 for i in range(n)])
        l.array("uint8", C.c_uint8, f"uint8_array {n}", [(i * 53 + 120) & 255 for i in range(n)])
        for bits in (8, 16, 32, 64):
            top = 1 << (bits - 1)
            l.array(f"int{bits}", getattr(C, f"c_int{bits}"), f"int{bits}_array {n}", [(i * 7 - 10) % top - (i & 1) * top for i in range(n)])
        for bits in (16, 32, 64):
            top = 1 << bits
            l.array(f"uint{bits}", getattr(C, f"c_uint{bits}"), f"uint{bits}_array {n}", [(i * (top // 3) + 1) % top for i in range(n)])
        l.strings(f"string_array {n}", [b"x" * i for i in range(n)])


def inner(depth):
    l = List()
    l.scalar("uint64", C.c_uint64, "depth", depth)
    if depth:
        l.list("inner", inner(depth - 1))
        l.lists("pair of lists", [inner(depth - 1), List()])
    return l


def doubles(l):
    values = {"": 1.5, "tiny": -2.5e-300, "inf": float("inf"), "big": 1e22, "zero": -0.0, "half": 0.0000005}
    for name, v in (values | {"minus inf": float("-inf"), "nan": float("nan"), "minus nan": -float("nan")}).items():
        l.scalar("double", C.c_double, f"double {name}", v)


def nested(l):
    l.list("empty list", List())
    l.list("list", inner(2))
    l.lists("one", [inner(0)])
    l.lists("three", [inner(1), List(2), inner(0)])
    l.lists("none", [])
    l.string("after", b"here")


def empty_arrays_nested(l):
    within = List()
    arrays(within, [0])
    l.list("list", within)
    l.lists("lists", [within, within])
    arrays(l, [0])


def duplicates(l):
    l.string("twice", b"first")
    l.scalar("uint64", C.c_uint64, "other", 1)
    l.string("twice", b"second")
    l.scalar("uint64", C.c_uint64, "twice", 3)


for name, fill, flag in (
    ("empty", lambda l: None, 1),
    ("scalars", scalars, 1),
    ("doubles", doubles, 1),
    ("arrays", lambda l: arrays(l, [1, 2, 5]), 1),
    ("empty-arrays", lambda l: (arrays(l, [0]), l.string("after", b"here")), 1),
    ("empty-arrays-nested", empty_arrays_nested, 1),
    ("nested", nested, 1),
    ("duplicates", duplicates, 0),
    ("name-type", duplicates, 2),
):
    made = List(flag)
    fill(made)
    made.record(name)
