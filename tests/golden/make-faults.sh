# Guest script, for a virtual machine with the OpenZFS kernel module: makes the pool `faulty`, of which `zfs send` 2.3.2 makes
# streams that lose data, and records them. Leaves under /out:
#   faulty.img             the exported pool
#   NAME.zfs, COMMANDS     streams, and a line `NAME: zfs send ARGS` for each
#   received.txt           what `zfs receive` made of some: `NAME SHA256-OF-FILE BYTES XATTR`
set -u
truncate -s 64M /tmp/faulty.img; mkdir -p /mnt/x
zpool create -o ashift=9 -O mountpoint=legacy -O atime=off -O xattr=sa -O dnodesize=legacy -O compression=lz4 faulty /tmp/faulty.img || exit 1
put() { mount -t zfs "$1" /mnt/x && (cd /mnt/x && eval "$2"); umount /mnt/x; }
as() { head -c $1 /dev/zero | tr '\0' a; }
snd() { local name=$1; shift; zfs send "$@" > /out/$name.zfs; echo "$name: zfs send $*" >> /out/COMMANDS; }
rcv() { # rcv STREAM FILE: what comes out
  zfs receive -u faulty/r < /out/$1.zfs && mount -t zfs -o ro faulty/r /mnt/x
  echo "$1 $(sha256sum < /mnt/x/$2 | cut -d' ' -f1) $(stat -c %s /mnt/x/$2) $(getfattr -n user.a --only-values /mnt/x/$2 2>/dev/null | wc -c)" >> /out/received.txt
  umount /mnt/x; zfs destroy -r faulty/r; }

# A spill block that fits into its pointer.
zfs create faulty/spill; put faulty/spill 'seq 1 20 > f; setfattr -n user.a -v $(as 900) f'; zfs snapshot faulty/spill@s
put faulty/spill 'setfattr -n user.a -v $(as 800) f'; zfs snapshot faulty/spill@t
snd spill faulty/spill@s; snd spill-e -e faulty/spill@s; snd spill-ec-incr -e -c -i @s faulty/spill@t; snd spill-incr -i @s faulty/spill@t
# A block of 1 MiB that fits into its pointer.
zfs create -o recordsize=1M -o compression=zstd faulty/large; put faulty/large 'as 1048576 > f; seq 1 60000 >> f; as 3000000 > g'; zfs snapshot faulty/large@s
snd large faulty/large@s; snd large-e -e faulty/large@s; snd large-ec -e -c faulty/large@s; snd large-Lec -L -e -c faulty/large@s
rcv spill f; rcv spill-e f; rcv large f; rcv large-e f; rcv large-ec f; rcv large-Lec f
# Free space as zeros, so that the image packs well.
echo 0 > /sys/module/zfs/parameters/zfs_initialize_value; zpool initialize -w faulty
zpool export faulty; cp --sparse=always /tmp/faulty.img /out/faulty.img; cat /out/received.txt
