#!/usr/bin/env bash
# Makes a pool full of gang blocks whose headers fill a sector of 4 KiB (dynamic_gang_header), some of them nested, some encrypted,
# after a few with headers of 512 bytes. Runs as root where the module of OpenZFS 2.4 is; leaves `gangdyn.img`, the sums of its files
# and streams of its datasets in /out.
set -eu
P=/sys/module/zfs/parameters; printf 'correct horse' > /tmp/key; cd /out
text() { seq $1 $(($1 + $2)); }
truncate -s 64M gangdyn.img; zpool create -o ashift=12 -O mountpoint=/mnt/g -O compression=off -O atime=off -O xattr=sa gangdyn /out/gangdyn.img
zfs create -o recordsize=16k gangdyn/first
# All that is larger than a sector is in pieces of one.
echo 4097 > $P/metaslab_force_ganging; echo 100 > $P/metaslab_force_ganging_pct
text 1 5000 > /mnt/g/first/file; zpool sync gangdyn; zpool get -H -o property,value feature@dynamic_gang_header gangdyn
zfs create -o encryption=on -o keyformat=passphrase -o keylocation=file:///tmp/key -o recordsize=16k gangdyn/e
zfs create -o checksum=sha256 -o copies=2 -o recordsize=32k gangdyn/e/sum; zfs create -o recordsize=256k gangdyn/nested; zfs create -o compression=lz4 -o recordsize=128k gangdyn/packed
for d in e e/sum nested packed; do text 1000 30000 > /mnt/g/$d/file; for i in $(seq 40); do echo $i > /mnt/g/$d/one-of-forty-$i; done; done
setfattr -n user.long -v "$(text 1 500 | tr '\n' ,)" /mnt/g/e/file
zpool sync gangdyn; zfs snapshot -r gangdyn@a
for d in e nested; do text 3000 2000 | dd of=/mnt/g/$d/file bs=4k seek=2 conv=notrunc 2> /dev/null; done; zpool sync gangdyn; zfs snapshot -r gangdyn@b
echo 16777217 > $P/metaslab_force_ganging
for d in first e e/sum nested packed; do (cd /mnt/g/$d; sha256sum file | sed "s,  ,  $d/,"); done > gangdyn.sums
zfs send -w gangdyn/e@b > gangdyn-e-w.zfs; zfs send gangdyn/e/sum@b > gangdyn-e-sum.zfs; zfs send -i @a gangdyn/nested@b > gangdyn-nested-i.zfs; zfs send -c gangdyn/packed@b > gangdyn-packed-c.zfs
zpool scrub -w gangdyn; zpool status gangdyn | grep -E 'scan|errors'; zpool export gangdyn
zdb -e -p /out -bcc gangdyn > gangdyn.zdb 2>&1 || true; grep -E 'leak|gang' gangdyn.zdb
ls -la /out
