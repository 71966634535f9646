#!/usr/bin/env bash
# Makes pools with deduplicated blocks: `legacy.img` without the feature fast_dedup, `fast.img` with it, exported while entries
# were in the logs. Runs as root where OpenZFS's module is; leaves the images and what OpenZFS reports of them in /out.
set -eu
random() { openssl enc -aes-128-ctr -nosalt -K $(printf %032x $1) -iv 0 < /dev/zero 2> /dev/null | head -c $2; }
mkdir -p /mnt/d
make() {
  pool=$1; shift
  truncate -s 64M /out/$pool.img
  zpool create "$@" -o ashift=9 -O mountpoint=legacy -O compression=lz4 -O recordsize=8k -O dedup=sha256 $pool /out/$pool.img
  fill() { mount -t zfs $pool/$1 /mnt/d; "${@:2}"; umount /mnt/d; zpool sync $pool; }
  first() { random 1 200000 > /mnt/d/a; cp --reflink=never /mnt/d/a /mnt/d/b; random 2 100000 > /mnt/d/once; yes text | head -c 300000 > /mnt/d/text; }
  zfs create $pool/fs; fill fs first; zfs snapshot $pool/fs@a
  second() { random 1 100000 > /mnt/d/c; rm /mnt/d/b; random 3 50000 | dd of=/mnt/d/once bs=1k seek=20 conv=notrunc 2> /dev/null; }
  fill fs second; zfs snapshot $pool/fs@b; zfs clone $pool/fs@a $pool/clone; fill clone second
  zfs create -o copies=2 $pool/two; fill two first; zfs create -o copies=3 $pool/three; fill three first
  for sum in skein blake3 edonr,verify sha512; do zfs create -o dedup=$sum $pool/${sum%,*}; fill ${sum%,*} first; done
  echo 'correct horse' > /tmp/key
  zfs create -o encryption=on -o keyformat=passphrase -o keylocation=file:///tmp/key $pool/enc; fill enc first; zfs snapshot $pool/enc@a
  fill enc second; zfs snapshot $pool/enc@b
  zfs create -V 1M -o volblocksize=8k $pool/vol; for i in $(seq 20); do [ -e /dev/zvol/$pool/vol ] && break; sleep 0.2; done
  dev=/dev/zvol/$pool/vol; [ -e $dev ] || dev=/dev/zd0; random 1 300000 > /tmp/random; dd if=/tmp/random of=$dev bs=8k conv=notrunc,fsync 2> /dev/null || true
  # From here on no log is moved to the tables.
  if [ $pool = fast ]; then echo 1000000 > /sys/module/zfs/parameters/zfs_dedup_log_txg_max; for i in 1 2 3; do last() { random $i 20000 > /mnt/d/x$i; random 4 20000 > /mnt/d/y$i; }; fill fs last; done; fi
  zfs create $pool/last; fill last first
  for snapshot in fs@a fs@b enc@a; do raw=; [ $snapshot = enc@a ] && raw=-w; zfs send -Lec $raw $pool/$snapshot > /out/$pool-${snapshot%@*}-${snapshot#*@}.zfs; done
  zfs send -Lec -i @a $pool/fs@b > /out/$pool-fs-a-b.zfs
  zfs list -Hp -t all -o name,used,available,referenced -r $pool > /out/$pool.list
  zpool get -Hp -o property,value all $pool | grep -E 'dedup|size|allocated|bclone' > /out/$pool.get || true
  for fs in fs clone two three skein blake3 edonr sha512 enc last; do mount -o ro -t zfs $pool/$fs /mnt/d; (cd /mnt/d; sha256sum * | sed "s,  ,  $fs ,") >> /out/$pool.sums; umount /mnt/d; done
  zpool export $pool
  zdb -e -p /out -DDD $pool > /out/$pool.ddt 2>&1 || true
  zdb -e -p /out -bcc $pool > /out/$pool.zdb 2>&1 || true; tail -3 /out/$pool.zdb; head -40 /out/$pool.ddt
}
make legacy -o feature@fast_dedup=disabled -o feature@block_cloning=disabled
make fast -o feature@block_cloning=disabled
