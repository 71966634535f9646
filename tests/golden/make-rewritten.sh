#!/usr/bin/env bash
# Makes a pool with blocks that were written again where their datasets see no change (`zfs rewrite -P`). Runs as root where
# OpenZFS's module is, 2.4 or later; leaves `rewritten.img`, the sums of its files and some streams in /out.
set -eu
printf 'correct horse' > /tmp/key; cd /out
text() { seq $1 $(($1 + $2)); }
truncate -s 64M rewritten.img; zpool create -o ashift=9 -O mountpoint=/mnt/r -O compression=off -O atime=off -O recordsize=8k rewritten /out/rewritten.img
zfs create rewritten/fs; zfs create -o encryption=on -o keyformat=passphrase -o keylocation=file:///tmp/key rewritten/e
for d in fs e; do
  for f in kept rewritten again changed; do text 1000 15000 > /mnt/r/$d/$f; done; mkdir /mnt/r/$d/d; text 1 3000 > /mnt/r/$d/d/gone
done
zpool sync rewritten; zfs snapshot -r rewritten@a
# An indirect block of which the later half is written again, a whole file, and one that is changed too.
for d in fs e; do zfs set compression=lz4 rewritten/$d; zfs rewrite -P -o 40960 -l 24576 /mnt/r/$d/rewritten; zfs rewrite -P /mnt/r/$d/again; zfs rewrite -P /mnt/r/$d/d/gone; done
zpool sync rewritten; zfs snapshot -r rewritten@b
for d in fs e; do echo changed | dd of=/mnt/r/$d/changed bs=8k seek=3 conv=notrunc 2> /dev/null; zfs rewrite -P /mnt/r/$d/changed; rm /mnt/r/$d/d/gone; zfs rewrite -P -l 8192 /mnt/r/$d/again; done
zpool sync rewritten; zfs snapshot -r rewritten@c; zfs clone rewritten/fs@b rewritten/clone; zfs rewrite -P /mnt/r/clone/kept; echo new > /mnt/r/clone/new; zpool sync rewritten
zpool checkpoint rewritten; zfs rewrite -P /mnt/r/fs/kept; zpool sync rewritten
mkdir /mnt/s; for d in fs e; do for s in a b c; do mount -t zfs -o ro rewritten/$d@$s /mnt/s; (cd /mnt/s; find . -type f | sort | xargs sha256sum | sed "s,  ./,  $d@$s ,"); umount /mnt/s; done; done > rewritten.sums
for d in fs e; do
  zfs send -w rewritten/$d@a > $d-a-w.zfs; zfs send -c -i @a rewritten/$d@b > $d-ab-c.zfs; zfs send -i @a rewritten/$d@b > $d-ab.zfs
  zfs send -i @b rewritten/$d@c > $d-bc.zfs; zfs send -w -i @a rewritten/$d@c > $d-ac-w.zfs; zfs send rewritten/$d@c > $d-c.zfs
done
zpool get -H -o value,property feature@physical_rewrite rewritten; zpool export rewritten
zdb -e -p /out -bcc rewritten > rewritten.zdb 2>&1 || true; tail -25 rewritten.zdb; ls -la /out
