#!/bin/bash
# Makes the pool that `cargo xtask bench extract` measures on: one file of 1 GiB that does not compress.
# Run as root where the OpenZFS module is; makes /out/bench.img.
set -eu
mkdir -p /mnt
truncate -s 1400M /out/bench.img
zpool create -o ashift=12 -O atime=off -m /mnt/bench bench /out/bench.img
zfs create bench/one
head -c 64M /dev/urandom > /tmp/seed
for n in $(seq 16); do cat /tmp/seed; done > /mnt/bench/one/file
zfs snapshot bench/one@s
zpool export bench
