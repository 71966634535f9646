#!/usr/bin/env bash
# Streams out of packages by `zstream select`, and streams put together by `zstream join`, received by the real
# `zfs receive`.
#
#   select.sh prepare STREAMS MANIFESTS DIR   makes the streams in DIR
#   select.sh guest DIR                       where OpenZFS's module is loaded, as root (needs getfattr)
#
# `zstream` is taken from PATH or from $ZSTREAM.
set -uo pipefail
zstream=${ZSTREAM:-zstream}

prepare() {
  local streams=$1 manifests=$2 dir=$3 token
  mkdir -p "$dir"; cp "$manifests"/*.txt "$dir/"; cp "$streams"/{fs-full,tree-R}.zfs "$dir/"
  "$zstream" select "$streams/tree-R.zfs" tank/tree/child > "$dir/child.zfs"
  "$zstream" select "$streams/tree-R.zfs" tank/tree/child@1 > "$dir/child-1.zfs"
  "$zstream" select "$streams/tree-R.zfs" tank/tree/child@2 > "$dir/child-2.zfs"
  "$zstream" select --package "$streams/tree-R.zfs" tank/tree/child > "$dir/child-package.zfs"
  "$zstream" select "$streams/fs-package-I.zfs" tank/fs > "$dir/fs.zfs"
  "$zstream" select --package "$streams/fs-package-I.zfs" tank/fs > "$dir/fs-package.zfs"
  for token in fs-full fs-full-Lec; do
    "$zstream" join "$streams/$token-saved.zfs" "$streams/$token-resumed.zfs" > "$dir/joined-$token.zfs"
  done
}

bad=0
say() { echo "$*"; case $1 in BAD*) bad=$((bad + 1));; esac; }

# same SNAPSHOT MANIFEST
same() {
  mkdir -p /mnt/snap
  (mount -t zfs -o ro "$1" /mnt/snap && cd /mnt/snap && find . -printf '%p|%y|%m|%U:%G|%s|%T@|%n|%l\n' | sort
   echo '# sha256'; find . -type f -print0 | sort -z | xargs -0 sha256sum
   echo '# xattrs'; getfattr -R -h -d -m - . 2>/dev/null) > /tmp/list
  umount /mnt/snap
  if cmp -s /tmp/list "$dir/$2.txt"; then say "good $1 = $2"; else say "BAD $1 is not $2:"; diff /tmp/list "$dir/$2.txt" | head -5; fi
}

guest() {
  dir=$1; local pool=/tmp/select.img
  truncate -s 600M $pool; zpool create -O mountpoint=none p $pool || exit 1
  # Two streams in one file: each receive takes one.
  (zfs receive -u p/two && zfs receive -u p/two) < "$dir/child.zfs" || say "BAD two receives of one file"
  same p/two@2 tank_tree_child_2
  cat "$dir/child.zfs" | (zfs receive -u p/pipe && zfs receive -u p/pipe) || say "BAD two receives of one pipe"
  same p/pipe@2 tank_tree_child_2
  zfs receive -u p/single < "$dir/child-1.zfs" && zfs receive -u p/single < "$dir/child-2.zfs" || say "BAD one by one"
  same p/single@2 tank_tree_child_2
  zfs receive -u p/package < "$dir/child-package.zfs" || say "BAD package"
  same p/package@2 tank_tree_child_2
  zfs receive -u p/fs < "$dir/fs-full.zfs" && (zfs receive -u p/fs && zfs receive -u p/fs) < "$dir/fs.zfs" || say "BAD increments"
  same p/fs@b tank_fs_b; same p/fs@c tank_fs_c
  zfs receive -u p/fs2 < "$dir/fs-full.zfs" && zfs receive -u p/fs2 < "$dir/fs-package.zfs" || say "BAD package of increments"
  same p/fs2@b tank_fs_b; same p/fs2@c tank_fs_c
  zfs receive -u p/joined < "$dir/joined-fs-full.zfs" || say "BAD joined"
  same p/joined@a tank_fs_a
  zfs receive -u p/joined2 < "$dir/joined-fs-full-Lec.zfs" || say "BAD joined"
  same p/joined2@a tank_fs_a
  zpool destroy p; rm -f $pool; echo "bad: $bad"; [ $bad = 0 ]
}

"$@"
