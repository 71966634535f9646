#!/bin/bash
# Makes the pool that `cargo xtask bench check` and `bench extract` measure on: 2.2 GiB of blocks in one file.
#   bench-pool.sh OUT      in a system with the OpenZFS module, as root (needs split); makes OUT/bench.img
# What a file server holds: large files, many small ones, text that compresses, a volume, snapshots.
set -eu
out=$1
file=$out/bench.img
truncate -s 3G "$file"
zpool create -o ashift=12 -O atime=off -m /mnt/bench bench "$file"
head -c 64M /dev/urandom > /tmp/seed

# Files that do not compress, in records of 128 KiB; one of them with 1 GiB.
zfs create bench/large
for n in $(seq 16); do cat /tmp/seed; done > /mnt/bench/large/one
for n in $(seq 14); do cp /tmp/seed "/mnt/bench/large/$n"; done
zfs snapshot bench/large@s

# 12000 files of 16 KiB.
zfs create bench/small
for n in 1 2 3; do
  mkdir "/mnt/bench/small/$n"
  (cd "/mnt/bench/small/$n" && split -a 4 -b 16384 /tmp/seed)
done
zfs snapshot bench/small@s
rm -r /mnt/bench/small/3

# Text, and records of 1 MiB.
zfs create -o compression=lz4 -o recordsize=1M bench/text
seq 1 12000000 > /mnt/bench/text/numbers
zfs snapshot -r bench@all

# A volume's small blocks.
zfs create -V 256M -o volblocksize=16k bench/vol
while [ ! -e /dev/zvol/bench/vol ] && [ ! -e /dev/zd0 ]; do sleep 1; done
dd if=/tmp/seed of="$(ls /dev/zvol/bench/vol /dev/zd0 2>/dev/null | head -1)" bs=1M 2>/dev/null
sync
zfs list -r bench
zpool export bench
