#!/usr/bin/env bash
# Clones with livelists, made and changed by `zstream` and by the kernel module in turn, and destroyed by the other: the module must
# accept the lists, find nothing to repair, and free all blocks.
#
#   livelists.sh [ROUNDS]      as root, in a system with the module; needs 500 MiB in /tmp
set -u
rounds=${1:-3} bad=0
work=$(mktemp -d); cd "$work" || exit 2
mkdir dev
# Parts of few blocks, so that there are several.
echo 40 > /sys/module/zfs/parameters/zfs_livelist_max_entries
fail() { echo "BAD:  $*"; bad=1; }
ours() { zstream -d "$work/dev" "$@" 2> ours.err || { fail "zstream $*"; cat ours.err; }; }
import() { zpool import -o cachefile=none -d "$work/dev" "$@" || fail "zpool import $*"; }
text() { head -c "$2" /dev/urandom > "$1"; }
mounted() { mkdir -p m; mount -t zfs "$1" m; shift; "$@"; umount m; }
clean() {
  timeout 300 zdb -e -p "$work/dev" -bcc tank > zdb.out 2>&1 || { fail "zdb"; tail -n 20 zdb.out; }
  grep -q "No leaks" zdb.out || { fail "leaks"; grep -i leak zdb.out | head -n 5; }
  timeout 100 zdb -e -p "$work/dev" -d tank > zdb.out 2>&1; rc=$?
  [ $rc = 0 ] && ! grep -E "leaked|ERROR|Discrepancy|incorrect|does not match" zdb.out || { fail "zdb -d: $rc"; tail -n 5 zdb.out; }
  zstream -d "$work/dev" pool check tank > check.out 2>&1 || { fail "pool check"; tail -n 3 check.out; }
}
scrubbed() {
  zpool scrub -w tank; zpool status tank > status
  grep -q "repaired 0B.*with 0 errors" status && grep -q "No known data errors" status || { fail "scrub"; cat status; }
}
lists() { timeout 100 zdb -e -p "$work/dev" -dddd tank 2> /dev/null | grep -c "com.delphix:livelist = "; }

truncate -s 300M dev/a.img
zpool create -o cachefile=none -o ashift=9 -O mountpoint=none -O compression=lz4 -O atime=off tank "$work/dev/a.img" || exit 2
zfs create -o mountpoint=legacy -o recordsize=8k tank/fs
fill() { for n in 1 2 3 4 5 6; do text m/$n 5000000; done; }
mounted tank/fs fill; zfs snapshot tank/fs@s; zpool sync tank
zfs clone -o mountpoint=legacy tank/fs@s tank/theirs0; mounted tank/theirs0 text m/file 300000
zpool sync tank; before=$(zpool list -Hp -o alloc tank); zpool export tank

for round in $(seq "$rounds"); do
  old=$((round - 1)); text f 400000
  ours clone -o mountpoint=legacy tank/fs@s "tank/ours$round"
  for n in 1 2 3; do ours put f "tank/ours$round:/$n"; ours put f "tank/theirs$old:/ours$n"; done
  ours put f "tank/ours$round:/1"
  ours snapshot "tank/theirs$old@mid"; ours put f "tank/theirs$old:/ours1"
  clean; echo "round $round: $(lists) livelists"
  import tank; scrubbed
  mounted "tank/ours$round" dd if=/dev/urandom of=m/2 bs=8k count=20 conv=notrunc 2> /dev/null; zpool sync tank
  mounted "tank/ours$round" text m/theirs 200000; zpool sync tank
  mounted "tank/theirs$old" rm m/ours2; zpool sync tank
  zfs clone -o mountpoint=legacy tank/fs@s "tank/theirs$round"; mounted "tank/theirs$round" text m/file 300000
  zfs destroy -r "tank/theirs$old"
  zpool sync tank; zpool export tank
  clean
  # What the module did not free yet is freed here, and what was changed by both is destroyed here or there.
  ours put f "tank/ours$round:/3"
  [ $((round % 2)) = 1 ] && ours destroy "tank/ours$round"
  clean
done
import tank
for dataset in $(zfs list -H -o name | grep -E "tank/(ours|theirs)"); do zfs destroy -r "$dataset"; done
zpool wait -t free tank; zpool sync tank
zfs clone tank/fs@s tank/last; zpool sync tank; zfs destroy tank/last; zpool wait -t free tank; zpool sync tank
after=$(zpool list -Hp -o alloc tank)
[ $((after)) -le $((before + 500000)) ] || fail "allocated: $after, before $before"
[ "$(zpool get -H -o value feature@livelist tank)" = enabled ] || fail "the feature is $(zpool get -H -o value feature@livelist tank)"
[ "$(zpool get -Hp -o value freeing tank)" = 0 ] || fail "freeing is not 0"
zpool export tank; clean

cd /; rm -rf "$work"
[ $bad = 0 ] && echo "OK"
[ $bad = 0 ]
