#!/usr/bin/env python3
"""Records what zlib makes of inputs that `src/deflate/tests.rs` can make again.

usage: record.py > expected.txt    (recorded with zlib 1.2.13)

Each line: level, kind of input, its length, length of zlib's output, its FNV-1a hash (64 bits).
"""

import zlib

MASK = (1 << 64) - 1


def numbers(state):
    """Marsaglia's xorshift64."""
    while True:
        state ^= state << 13 & MASK
        state ^= state >> 7
        state ^= state << 17 & MASK
        yield state


def make(kind, length):
    random = numbers(length + 1)
    out = bytearray()
    while len(out) < length:
        number = next(random)
        if kind == "zeros":
            out += bytes(length)
        elif kind == "noise":
            out += number.to_bytes(8, "little")
        elif kind == "letters":
            # One bit per byte: matches and literals of every length.
            out += bytes(97 + (number >> bit & 1) for bit in range(64))
        elif kind == "copies":
            # Copies of what went before, from near and far, between new bytes.
            out += (number >> 32).to_bytes(4, "little")
            back = number % 40000 + 1
            start = max(len(out) - back, 0)
            out += out[start : start + (number >> 16) % 300]
        elif kind == "skewed":
            # Byte n half as often as byte n - 1: codes of up to 15 bits.
            out.append((number & -number).bit_length() - 1)
    return bytes(out[:length])


def fnv(data):
    state = 0xCBF29CE484222325
    for byte in data:
        state = (state ^ byte) * 0x100000001B3 & MASK
    return state


for level in range(1, 10):
    for kind in ("zeros", "noise", "letters", "copies", "skewed"):
        # Searching letters takes the longest chains, which takes its time.
        for length in (0, 1, 3, 100, 4500, 20000) if kind == "letters" else (0, 1, 3, 100, 4500, 65274, 140000):
            packed = zlib.compress(make(kind, length), level)
            print(level, kind, length, len(packed), f"{fnv(packed):016x}")
