#!/usr/bin/env bash
# Makes a pool whose encrypted datasets are full of gang blocks. Runs as root where OpenZFS's module is; leaves `gangcrypt.img`,
# the sums of its files, raw and plain streams of its datasets, and what OpenZFS says of its blocks in /out.
set -eu
P=/sys/module/zfs/parameters; printf 'correct horse' > /tmp/key; cd /out
text() { seq $1 $(($1 + $2)); }
truncate -s 64M gangcrypt.img; zpool create -o ashift=9 -O mountpoint=/mnt/g -O compression=off -O atime=off -O xattr=sa gangcrypt /out/gangcrypt.img
# All that is larger than 1 KiB is in pieces: data, indirect blocks, blocks of dnodes, objsets, directories, attributes.
echo 1024 > $P/metaslab_force_ganging; echo 100 > $P/metaslab_force_ganging_pct
zfs create -o encryption=on -o keyformat=passphrase -o keylocation=file:///tmp/key -o recordsize=16k gangcrypt/e
zfs create -o checksum=sha256 -o copies=2 -o recordsize=4k gangcrypt/e/sum; zfs create -o compression=lz4 -o recordsize=128k gangcrypt/e/packed
for d in e e/sum e/packed; do
  text 1000 9000 > /mnt/g/$d/file; for i in $(seq 40); do echo $i > /mnt/g/$d/one-of-forty-$i; done
  setfattr -n user.long -v "$(text 1 500 | tr '\n' ,)" /mnt/g/$d/file
done
zfs create -V 256k -b 16k gangcrypt/e/vol; sleep 1; zd=$(ls /dev/zd[0-9]* | head -1); text 5000 20000 | dd of=$zd bs=16k conv=notrunc 2> /dev/null; sync
zpool sync gangcrypt; zfs snapshot -r gangcrypt/e@a
text 3000 2000 | dd of=/mnt/g/e/file bs=4k seek=2 conv=notrunc 2> /dev/null; zpool sync gangcrypt; zfs snapshot -r gangcrypt/e@b
zfs send -w gangcrypt/e@a | zfs receive -u gangcrypt/raw; zfs send -w -i @a gangcrypt/e@b | zfs receive -u gangcrypt/raw
zpool sync gangcrypt; echo 16777217 > $P/metaslab_force_ganging
for d in e e/sum e/packed; do (cd /mnt/g/$d; sha256sum file one-of-forty-7 | sed "s,  ,  $d/,"); done > gangcrypt.sums
sha256sum < $zd | sed 's,-$,vol,' >> gangcrypt.sums
for d in e e/sum e/vol; do n=$(echo $d | tr / -); zfs send -w gangcrypt/$d@b > gangcrypt-$n-w.zfs; zfs send gangcrypt/$d@b > gangcrypt-$n.zfs; done
zpool scrub -w gangcrypt; zpool status gangcrypt | grep -E 'scan|errors'; zpool export gangcrypt
zdb -e -p /out -bcc gangcrypt > gangcrypt.zdb 2>&1 || true; tail -40 gangcrypt.zdb
ls -la /out
