#!/usr/bin/env python3
"""Takes the packed nvlists out of real streams and vdev labels, with what OpenZFS prints of them.

usage: payloads.py OUTDIR STREAM.zfs... LABEL.img...

Of a stream, the payload of every BEGIN record that has one becomes NAME.begin, and what
`zstream dump` prints between the record and the next line of its own becomes NAME.print. Of a vdev's
image, the list at 16 KiB, as long as libnvpair's nvlist_size says, becomes NAME.label, and what
libnvpair's nvlist_print writes becomes NAME.print.
"""

import ctypes as C
import os
import re
import struct
import subprocess
import sys

nv = C.CDLL("libnvpair.so.3")
libc = C.CDLL(None)
libc.fopen.restype = C.c_void_p
libc.fopen.argtypes = [C.c_char_p, C.c_char_p]
libc.fclose.argtypes = [C.c_void_p]
out = sys.argv[1]

for path in sys.argv[2:]:
    name = os.path.splitext(os.path.basename(path))[0]
    with open(path, "rb") as file:
        head = file.read(512 << 10)
    if path.endswith(".img"):
        area = head[16 << 10 : (128 << 10) - 40]
        unpacked, size = C.c_void_p(), C.c_size_t()
        assert nv.nvlist_unpack(area, C.c_size_t(len(area)), C.byref(unpacked), 0) == 0
        assert nv.nvlist_size(unpacked, C.byref(size), 1) == 0
        with open(f"{out}/{name}.label", "wb") as file:
            file.write(area[: size.value])
        printed = C.c_void_p(libc.fopen(f"{out}/{name}.print".encode(), b"w"))
        nv.nvlist_print(printed, unpacked)
        libc.fclose(printed)
    else:
        kind, length = struct.unpack_from("<II", head)
        assert kind == 0 and length != 0, path
        with open(f"{out}/{name}.begin", "wb") as file:
            file.write(head[312 : 312 + length])
        text = subprocess.run(["zstream", "dump", path], capture_output=True, check=True).stdout
        found = re.search(rb"\tpayloadlen = %d\n(.*?)(?=^(?:BEGIN|END|SUMMARY))" % length, text, re.S | re.M)
        with open(f"{out}/{name}.print", "wb") as file:
            file.write(found[1])
