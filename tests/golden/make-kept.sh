#!/usr/bin/env bash
# Makes pools with blocks that no dataset has any more: kept by a checkpoint, and waiting in livelists. Runs as root where
# OpenZFS's module is; leaves `checkpointed.img`, `livelists.img` and what OpenZFS says of the first in /out.
set -eu
text() { yes "$1 of it" | head -c $2; }
mkdir -p /mnt/k

truncate -s 64M /out/checkpointed.img
zpool create -o ashift=9 -O mountpoint=legacy -O compression=off checkpointed /out/checkpointed.img
zfs create checkpointed/stays; zfs create checkpointed/goes
mount -t zfs checkpointed/stays /mnt/k; text first 300000 > /mnt/k/written; text same 200000 > /mnt/k/same; mkdir /mnt/k/d; text gone 150000 > /mnt/k/d/removed; umount /mnt/k
mount -t zfs checkpointed/goes /mnt/k; text lost 250000 > /mnt/k/file; umount /mnt/k
zfs snapshot checkpointed/stays@s; zfs snapshot checkpointed/goes@s; zpool sync checkpointed
zpool checkpoint checkpointed
zfs destroy checkpointed/stays@s; zfs destroy -r checkpointed/goes
mount -t zfs checkpointed/stays /mnt/k; text second 300000 > /mnt/k/written; rm -r /mnt/k/d; umount /mnt/k
zfs create checkpointed/new; mount -t zfs checkpointed/new /mnt/k; text new 100000 > /mnt/k/file; umount /mnt/k
zpool sync checkpointed; zpool get -Hp -o value checkpoint checkpointed > /out/checkpoint.txt; zpool export checkpointed

# Livelists of few blocks each, so that not all are gone when the pool is exported.
echo 20 > /sys/module/zfs/parameters/zfs_livelist_max_entries
truncate -s 64M /out/livelists.img
zpool create -o ashift=9 -O mountpoint=legacy -O compression=off -O recordsize=4k livelists /out/livelists.img
zfs create livelists/fs; mount -t zfs livelists/fs /mnt/k; text first 200000 > /mnt/k/file; umount /mnt/k; zfs snapshot livelists/fs@s
zfs clone livelists/fs@s livelists/stays; zfs clone livelists/fs@s livelists/goes
for clone in stays goes; do
  mount -t zfs livelists/$clone /mnt/k
  for i in $(seq 12); do text $i$clone 80000 > /mnt/k/f$i; zpool sync livelists; text again 20000 | dd of=/mnt/k/f$i bs=4k conv=notrunc 2> /dev/null; zpool sync livelists; done
  umount /mnt/k
done
zfs destroy livelists/goes; zpool export livelists
zdb -e -p /out -dddd livelists 1 2> /dev/null | grep deleted_clones || echo "no deleted clones are left"
for pool in checkpointed livelists; do zdb -e -p /out -bcc $pool > /out/$pool.zdb 2>&1 || true; tail -25 /out/$pool.zdb; done
