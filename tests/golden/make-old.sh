#!/usr/bin/env bash
# Makes pools of versions before features: of 5 and of 28 in one file, of 2 as raidz1 of three. Runs as root where OpenZFS's
# module is; leaves `vN.img` (`v2-1.img` to `v2-3.img`) and what `zfs list` shows of it, `vN.list`, in /out.
set -eu
for version in 2 5 28; do
  pool=old$version images=/out/v$version.img kind=
  [ $version != 2 ] || { images=$(echo /out/v2-{1,2,3}.img); kind=raidz1; }
  truncate -s 64M $images
  zpool create -o version=$version -O atime=off $pool $kind $images
  zfs create $pool/fs; echo "of version $version" > /$pool/fs/file; zfs snapshot $pool/fs@s
  zpool export $pool; zpool import -o readonly=on -d /out $pool
  zfs list -Hp -t all -r -o name,used,avail,refer $pool > /out/v$version.list
  zpool export $pool
done
