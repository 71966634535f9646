#!/usr/bin/env bash
# A pool from which vdevs were removed is changed by `zstream` and by the kernel module in turn. The module must see what `zstream`
# shows, find nothing to repair, and lose no space.
#
#   removed.sh [ROUNDS]      as root, in a system with the module; needs 500 MiB in /tmp
set -u
rounds=${1:-3} bad=0
work=$(mktemp -d); cd "$work" || exit 2
mkdir dev
fail() { echo "BAD:  $*"; bad=1; }
ours() { zstream -d "$work/dev" "$@" || fail "zstream $*"; }
import() { zpool import -o cachefile=none -d "$work/dev" "$@" || fail "zpool import $*"; }
text() { head -c "$2" /dev/urandom > "$1"; }
mounted() { mkdir -p m; mount -t zfs "$1" m; shift; "$@"; umount m; }
manifest() { (cd m && find . -type f | sort | while read -r f; do sha256sum "$f"; done); }
clean() {
  timeout 300 zdb -e -p "$work/dev" -bcc tank > zdb.out 2>&1 || { fail "zdb"; tail -n 20 zdb.out; }
  grep -q "No leaks" zdb.out || { fail "leaks"; grep -i leak zdb.out | head -n 5; }
  timeout 100 zdb -e -p "$work/dev" -d tank > zdb.out 2>&1; rc=$?
  [ $rc = 0 ] && ! grep -E "leaked|ERROR|Discrepancy|incorrect|does not match" zdb.out || { fail "zdb -d: $rc"; tail -n 5 zdb.out; }
  echo "lists of remapped blocks: $(grep -c remap_deadlist zdb.out), livelists: $(grep -c Livelist zdb.out)"
}
scrubbed() {
  zpool scrub -w tank; zpool status tank > status
  grep -q "repaired 0B.*with 0 errors" status && grep -q "No known data errors" status || { fail "scrub"; cat status; }
}
same() {
  ours list -Hp -o name,used,avail,refer > ours.list
  import -o readonly=on -N tank; zfs list -Hp -o name,used,avail,refer > their.list; zpool export tank
  cmp -s ours.list their.list || { fail "list"; diff ours.list their.list; }
}

truncate -s 320M dev/a.img; truncate -s 64M dev/b.img dev/c.img
zpool create -o cachefile=none -o ashift=9 -O mountpoint=none -O compression=lz4 tank "$work/dev/a.img" "$work/dev/b.img" "$work/dev/c.img" || exit 2
zfs create -o mountpoint=legacy -o recordsize=16k tank/fs; zfs create -o mountpoint=legacy tank/gone
fill() { for n in 1 2 3 4 5 6; do text m/$n 900000; done; text m/large 7000000; }
mounted tank/fs fill; mounted tank/gone fill
zfs snapshot -r tank@before; zfs clone -o mountpoint=legacy tank/fs@before tank/clone
zpool sync tank
# What was moved from b may lie on c, which is removed next.
zpool remove -w tank "$work/dev/b.img" || exit 2; zpool remove -w tank "$work/dev/c.img" || exit 2
zpool export tank; rm dev/b.img dev/c.img
clean; same

for round in $(seq "$rounds"); do
  text f 700000
  ours put f tank/fs:/1; ours put f "tank/fs:/ours$round"; ours snapshot "tank/fs@ours$round"
  case $round in
    1) ours destroy tank/clone; ours destroy -r tank/gone; ours clone -o mountpoint=legacy tank/fs@before tank/remapped;;
    2) ours destroy tank/fs@between1; ours rollback tank/fs@ours2; ours put f tank/remapped:/2; ours snapshot tank/remapped@own;;
    *) ours destroy tank/fs@ours1; ours create tank/new; ours promote tank/remapped; ours destroy tank/remapped@between2;;
  esac
  ours cat tank/fs /large | sha256sum > large
  zstream -d "$work/dev" pool check tank > check.out || { fail "pool check"; tail -n 3 check.out; }
  clean; same
  import tank; scrubbed
  zfs create -o mountpoint=legacy "tank/theirs$round"; mounted "tank/theirs$round" text m/file 800000
  mounted tank/fs sha256sum m/large | cut -d' ' -f1 > now; grep -q "$(cat now)" large || fail "large differs"
  # The module remaps what it writes: the old places are kept for the snapshots before.
  for dataset in tank/fs tank/remapped; do
    zfs snapshot "$dataset@between$round"
    mounted "$dataset" dd if=/dev/urandom of=m/large bs=16k count=2 seek=$((40 * round)) conv=notrunc 2> /dev/null
  done
  zpool sync tank; zpool export tank
  clean; zstream -d "$work/dev" pool check tank > check.out || { fail "pool check"; tail -n 3 check.out; }
done
import tank; zfs destroy -r tank/fs; zpool sync tank; zpool export tank
clean; zstream -d "$work/dev" pool check tank > check.out || { fail "pool check"; tail -n 3 check.out; }
zpool import -o cachefile=none -d "$work/dev" tank; zpool get -H -o value feature@obsolete_counts,feature@device_removal tank; zpool export tank

cd /; rm -rf "$work"
[ $bad = 0 ] && echo "OK"
[ $bad = 0 ]
