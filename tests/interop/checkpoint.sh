#!/usr/bin/env bash
# A pool with a checkpoint is changed by `zstream` and by the kernel module in turn. The module must see what `zstream` shows, find
# nothing to repair, return to the checkpoint with all its files, and discard it without a leak.
#
#   checkpoint.sh [ROUNDS]      as root, in a system with the module; needs 300 MiB in /tmp
set -u
rounds=${1:-3} bad=0
work=$(mktemp -d); cd "$work" || exit 2
mkdir dev back
fail() { echo "BAD:  $*"; bad=1; }
ours() { zstream -d "$work/dev" "$@" || fail "zstream $*"; }
import() { zpool import -o cachefile=none -d "$work/dev" "$@" || fail "zpool import $*"; }
text() { head -c "$2" /dev/urandom > "$1"; }
mounted() { mkdir -p m; mount -t zfs "$1" m; shift; "$@"; umount m; }
manifest() { (cd m && find . -type f | sort | while read -r f; do sha256sum "$f"; done); }
clean() {       # after an export: no leak, no bad block
  timeout 300 zdb -e -p "$work/dev" -bcc "$@" tank > zdb.out 2>&1 || { fail "zdb $*"; tail -n 20 zdb.out; }
  grep -q "No leaks" zdb.out || { fail "leaks"; grep -i leak zdb.out | head -n 5; }
}
scrubbed() {
  zpool scrub -w tank; zpool status tank > status
  grep -q "repaired 0B.*with 0 errors" status && grep -q "No known data errors" status || { fail "scrub"; cat status; }
}
same() {        # what both show of the pool as it is on the devices
  ours list -Hp -o name,used,avail,refer > ours.list; ours pool get -Hp -o value checkpoint tank > ours.get
  import -o readonly=on -N tank
  zfs list -Hp -o name,used,avail,refer > their.list; zpool get -Hp -o value checkpoint tank > their.get
  zpool export tank
  cmp -s ours.list their.list || { fail "list"; diff ours.list their.list; }
  cmp -s ours.get their.get || { fail "pool get"; diff ours.get their.get; }
}

truncate -s 128M dev/a.img dev/b.img
zpool create -o cachefile=none -o ashift=9 -O mountpoint=none -O compression=lz4 tank "$work/dev/a.img" "$work/dev/b.img" || exit 2
zfs create -o mountpoint=legacy tank/stays; zfs create -o mountpoint=legacy -o recordsize=8k tank/goes
fill() { for n in 1 2 3; do text m/$n 700000; done; text m/large 5000000; }
mounted tank/stays fill; mounted tank/goes fill
zfs snapshot -r tank@before; zfs clone -o mountpoint=legacy tank/goes@before tank/clone
mounted tank/stays manifest > stays.then; mounted tank/goes manifest > goes.then
zpool sync tank; zpool checkpoint tank; zpool export tank

for round in $(seq "$rounds"); do
  text f 900000
  ours put f tank/stays:/1; ours put f "tank/stays:/ours$round"; ours snapshot "tank/stays@ours$round"
  case $round in
    1) ours destroy tank/clone; ours destroy -r tank/goes; ours create tank/new;;
    2) ours destroy tank/stays@before; ours rollback -r tank/stays@ours2;;
    *) ours destroy "tank/stays@ours1";;
  esac
  ours put f tank/new:/f
  zstream -d "$work/dev" pool check tank > check.out || { fail "pool check"; tail -n 3 check.out; }
  clean; same
  import tank; scrubbed
  theirs() { text m/2 600000; text "m/theirs$round" 300000; rm -f "m/ours$round"; }
  mounted tank/stays theirs; zfs snapshot "tank/stays@theirs$round"
  zpool sync tank; zpool export tank
  clean; zstream -d "$work/dev" pool check tank > check.out || { fail "pool check"; tail -n 3 check.out; }
done
ours --checkpoint cat tank/goes /large | sha256sum | cut -d' ' -f1 > sum
grep -q "$(cat sum)" goes.then || fail "a file of the checkpoint has changed"
cp dev/*.img back

echo "rewind"
import --rewind-to-checkpoint tank
mounted tank/stays manifest > now; cmp -s now stays.then || fail "stays differs after the rewind"
mounted tank/goes manifest > now; cmp -s now goes.then || fail "goes differs after the rewind"
scrubbed; zpool export tank; clean; zstream -d "$work/dev" pool check tank > check.out || { fail "pool check"; tail -n 3 check.out; }

echo "discard there"
cp back/*.img dev; import tank
[ "$(zpool get -Hp -o value checkpoint tank)" -gt 0 ] || fail "no checkpoint is left"
zpool checkpoint -d -w tank || fail "zpool checkpoint -d"
[ "$(zpool get -Hp -o value checkpoint tank)" = - ] || fail "checkpoint is not discarded"
scrubbed; zpool export tank; clean

echo "discard here"
cp back/*.img dev; ours pool checkpoint -d tank; clean; same
import tank; scrubbed; [ "$(zpool get -H -o value feature@zpool_checkpoint tank)" = enabled ] || fail "feature"
zpool export tank

echo "checkpoint here"
import tank; mounted tank/stays manifest > stays.then; zpool export tank
ours pool checkpoint tank; text f 3000000; ours put f tank/stays:/1; ours destroy tank/new; clean; clean -k; same
import tank; scrubbed; mounted tank/stays rm -f m/2; zpool sync tank; zpool export tank; clean
import --rewind-to-checkpoint tank
mounted tank/stays manifest > now; cmp -s now stays.then || fail "stays differs after the rewind to our checkpoint"
zfs list tank/new > /dev/null || fail "tank/new is not back"
scrubbed; zpool export tank; clean

cd /; rm -rf "$work"
[ $bad = 0 ] && echo "OK"
[ $bad = 0 ]
