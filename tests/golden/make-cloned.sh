#!/usr/bin/env bash
# Makes a pool with cloned blocks (`cp --reflink`): in a file, between files, between datasets, from snapshots, encrypted, on two
# vdevs. Runs as root where OpenZFS's module is; leaves in /out the members, the sums of its files, what `zpool get`, `zfs list`
# and `zdb` show, and some streams, all named after the version of OpenZFS: `cloned23`, `cloned24`.
set -eu
printf 'correct horse' > /tmp/key; cd /out
P=cloned$(zfs version -j 2> /dev/null | grep -o '"userland": *"[^"]*"' | grep -o '[0-9]*\.[0-9]*' | head -1 | tr -d . || true)
[ "$P" != cloned ] || P=cloned$(zfs version | grep -o '[0-9]*\.[0-9]*' | head -1 | tr -d .)
echo 1 > /sys/module/zfs/parameters/zfs_bclone_enabled || true
text() { seq $1 $(($1 + $2)); }
cl() { cp --reflink=always "$1" "$2"; } # within a mount
clx() { cp --sparse=never "$1" "$2"; } # between mounts, by copy_file_range
truncate -s 64M $P-1.img $P-2.img
zpool create -o ashift=9 -O mountpoint=/mnt/c -O compression=off -O atime=off -O recordsize=8k $P /out/$P-1.img /out/$P-2.img
zfs create $P/fs; zfs create $P/other; zfs create -o encryption=on -o keyformat=passphrase -o keylocation=file:///tmp/key $P/e; zfs create -o compression=lz4 $P/small
for d in fs e; do for f in whole part twice gone; do text 1000 12000 > /mnt/c/$d/$f; done; text 5 300 > /mnt/c/$d/short; done; text 7 90 > /mnt/c/small/embedded; dd if=/dev/zero of=/mnt/c/fs/holes bs=8k count=20 2> /dev/null; text 1 4000 | dd of=/mnt/c/fs/holes bs=8k seek=9 conv=notrunc 2> /dev/null; zpool sync $P
for d in fs e; do cl /mnt/c/$d/whole /mnt/c/$d/whole2; cl /mnt/c/$d/part /mnt/c/$d/part2; cl /mnt/c/$d/twice /mnt/c/$d/twice2; cl /mnt/c/$d/twice /mnt/c/$d/twice3; cl /mnt/c/$d/short /mnt/c/$d/short2; done
cl /mnt/c/fs/holes /mnt/c/fs/holes2; cl /mnt/c/small/embedded /mnt/c/small/embedded2; clx /mnt/c/fs/whole /mnt/c/other/whole; clx /mnt/c/fs/gone /mnt/c/other/moved; rm /mnt/c/fs/gone
zpool sync $P; zfs snapshot -r $P@a
# A clone of the clone, clones that are partly overwritten, and clones of what only a snapshot has.
for d in fs e; do cl /mnt/c/$d/twice3 /mnt/c/$d/twice4; echo changed | dd of=/mnt/c/$d/part2 bs=8k seek=2 conv=notrunc 2> /dev/null; echo changed | dd of=/mnt/c/$d/part bs=8k seek=4 conv=notrunc 2> /dev/null; rm /mnt/c/$d/whole; zpool sync $P; mkdir -p /mnt/s; mount -t zfs -o ro $P/$d@a /mnt/s; clx /mnt/s/whole /mnt/c/$d/back; umount /mnt/s; done
zpool sync $P; zfs snapshot -r $P@b; zfs clone $P/fs@b $P/clone; clx /mnt/c/fs/twice /mnt/c/clone/new; rm /mnt/c/clone/short; zpool sync $P
zfs destroy $P/small@a
mkdir -p /mnt/s; for d in fs e other small; do for s in a b; do zfs list -H $P/$d@$s > /dev/null 2>&1 || continue; mount -t zfs -o ro $P/$d@$s /mnt/s; (cd /mnt/s; find . -type f | sort | xargs -r sha256sum | sed "s,  ./,  $d@$s ,"); umount /mnt/s; done; done > $P.sums
for d in fs e; do zfs send -w $P/$d@a > $P-$d-a-w.zfs; zfs send -i @a $P/$d@b > $P-$d-ab.zfs; zfs send -c $P/$d@b > $P-$d-b-c.zfs; done
zpool sync $P; zpool get -Hp -o property,value bcloneused,bclonesaved,bcloneratio,feature@block_cloning,feature@block_cloning_endian $P > $P.get 2> /dev/null || zpool get -Hp -o property,value bcloneused,bclonesaved,bcloneratio,feature@block_cloning $P > $P.get
zpool export $P; zpool import -o readonly=on -d /out -N $P; zfs list -Hpr -t all -o name,used,available,referenced $P > $P.list; zpool export $P
zdb -e -p /out -bcc $P > $P.zdb 2>&1 || true; tail -25 $P.zdb; cat $P.get $P.list; ls -la /out
