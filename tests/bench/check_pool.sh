#!/bin/bash
# Makes the pool that `cargo xtask bench check` and `bench extract` measure on: 2.2 GiB of blocks in one file.
# Run as root where the OpenZFS module is, with 6 GB of memory; makes /out/bench.img.
# What a file server holds: large files, many small ones, text that compresses, a volume, snapshots.
set -eu
file=/out/bench.img
mkdir -p /mnt
truncate -s 3G "$file"
zpool create -o ashift=12 -O atime=off -m /mnt/bench bench "$file"
head -c 64M /dev/urandom > /tmp/seed

# Files that do not compress, in records of 128 KiB: one of 1 GiB, and 16 of 64 MiB.
zfs create bench/one
for n in $(seq 16); do cat /tmp/seed; done > /mnt/bench/one/file
zfs snapshot bench/one@s
zfs create bench/large
for n in $(seq 16); do cp /tmp/seed "/mnt/bench/large/$n"; done
zfs snapshot bench/large@s

# 2000 files of 16 KiB.
zfs create bench/small
cat /tmp/seed | for n in $(seq 2000); do
  [ $((n % 500)) = 1 ] && mkdir -p "/mnt/bench/small/$((n / 500))"
  head -c 16384 > "/mnt/bench/small/$(((n - 1) / 500))/$n"
done
zfs snapshot bench/small@s
rm -r /mnt/bench/small/3

# Text, and records of 1 MiB.
zfs create -o compression=lz4 -o recordsize=1M bench/text
seq 1 2000000 > /mnt/bench/text/numbers
zfs snapshot -r bench@all

# A volume's small blocks.
zfs create -V 128M -o volblocksize=16k bench/vol
device=
until [ -n "$device" ]; do sleep 1; device=$(ls -d /dev/zvol/bench/vol /dev/zd0 2>/dev/null | head -1); done
dd if=/tmp/seed of="$device" bs=1M 2>/dev/null
sync
zfs list -r bench
zpool export bench
