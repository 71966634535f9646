#!/usr/bin/env bash
# Makes pools of versions before features, of 5 and of 28. Runs as root where OpenZFS's module is; leaves `vN.img` and what
# `zfs list` shows of it, `vN.list`, in /out.
set -eu
for version in 5 28; do
  pool=old$version image=/out/v$version.img
  truncate -s 64M $image
  zpool create -o version=$version -O atime=off $pool $image
  zfs create $pool/fs; echo "of version $version" > /$pool/fs/file; zfs snapshot $pool/fs@s
  zpool export $pool; zpool import -o readonly=on -d /out $pool
  zfs list -Hp -t all -r -o name,used,refer $pool > /out/v$version.list
  zpool export $pool
done
