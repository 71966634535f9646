#!/bin/bash
# dRAID pools that zstream creates, in the hands of the kernel module, and back: imported without -f, scrubbed, written to, a disk failed
# and rebuilt onto a distributed spare; read by zstream without that disk; the disk replaced, and the pool written by zstream again.
#
#   draid.sh guest [POOL...]     in a system with the module, as root; zstream is the program to be tested; the pools are one, two and
#                                three, by their parity; without any it is those named in /in/parts, or all
set -u
[ "${1:-guest}" = guest ] || { sed -n 2,6p "$0"; exit 2; }
pools=${*:2}; [ -n "$pools" ] || pools=$(cat /in/parts 2>/dev/null || echo one two three)
bad=0
verdict() { if [ "$2" = 0 ]; then echo "good: $1"; else echo "BAD:  $1"; bad=1; fi; }
work=$(mktemp -d); cd "$work" || exit 2
export ZSTREAM_DEVICE=
sums() { (cd "$1" && find . -type f | sort | while read -r f; do sha256sum "$f"; done); }

scrubbed() { # scrubbed POOL WHAT: nothing is to be repaired
  zpool scrub -w "$1"; zpool status "$1" > status
  grep -q 'repaired 0B.*0 errors' status && grep -q 'No known data errors' status; verdict "$1: $2: nothing to repair" $?
}

looked() { # looked POOL WHAT: zstream reads what the module wrote
  zstream -d "$1" pool check > check 2>&1; verdict "$1: $2: check" $?
  rm -rf out; mkdir out; zstream -d "$1" extract "$1/fs" -C out > extract 2>&1; verdict "$1: $2: extract" $?
  sums out | cmp -s - "$1.sums"; verdict "$1: $2: content" $?
  [ "$bad" = 0 ] || cat check extract
}

pool() { # pool NAME SHAPE MEMBERS ASHIFT FAILED SPARE
  local p=$1 shape=$2 files= n; mkdir "$p"
  for n in $3; do files="$files $work/$p/$n.img"; done
  zstream pool create --size 112M -o ashift="$4" "$p" "$shape" $files; verdict "$p: create $shape" $?
  zstream -d "$p" create "$p/fs" && mkdir src && for n in $(seq 1 12); do seq 1 $((n * n * 500)) > "src/f$n"; head -c $((n * 40000)) /dev/urandom > "src/r$n"; done
  zstream -d "$p" put src "$p/fs:/"; verdict "$p: put" $?
  zpool import -d "$p" -R "/mnt" "$p"; verdict "$p: import" $?
  diff -r src "/mnt/$p/fs/src" > /dev/null; verdict "$p: the module reads what zstream put" $?
  scrubbed "$p" "as created"
  for n in 1 2 3; do head -c $((n * 700000)) /dev/urandom > "/mnt/$p/fs/module$n"; done; rm "/mnt/$p/fs/src/r3"; zfs snapshot "$p/fs@m"; zpool sync
  sums "/mnt/$p/fs" > "$p.sums"; zpool export "$p"; looked "$p" "written by the module"
  zstream -d "$p" send "$p/fs@m" > ours.zfs; verdict "$p: send" $?
  zstream -d "$p" recv "$p/copy" < ours.zfs; verdict "$p: receive" $?
  zstream -d "$p" destroy -r "$p/copy"; zstream -d "$p" put src "$p/fs:/again"; verdict "$p: destroy and put" $?
  zpool import -d "$p" -R "/mnt" "$p"; verdict "$p: import again" $?
  zfs send "$p/fs@m" | cmp -s - ours.zfs; verdict "$p: sends are equal" $?
  scrubbed "$p" "changed by zstream"
  zpool offline -f "$p" "$work/$p/$5.img"; zpool replace "$p" "$work/$p/$5.img" "$6"; zpool wait -t resilver "$p"
  seq 1 90000 > "/mnt/$p/fs/degraded"; scrubbed "$p" "on a spare"
  sums "/mnt/$p/fs" > "$p.sums"; zpool export "$p"; mv "$p/$5.img" failed.img; looked "$p" "on a spare"
  zstream -d "$p" snapshot "$p@no" 2> refused; [ $? = 1 ] && grep -q "spare" refused; verdict "$p: not written while a spare is in use" $?
  truncate -s 112M "$p/new.img"; zpool import -d "$p" -R "/mnt" "$p"; verdict "$p: import on a spare" $?
  zpool replace "$p" "$work/$p/$5.img" "$work/$p/new.img" && zpool wait -t resilver "$p"; zpool sync "$p"; sleep 2; zpool status "$p" > status; grep -q AVAIL status; verdict "$p: spare given back" $?
  scrubbed "$p" "with a new disk"; zpool export "$p"; looked "$p" "with a new disk"
  zstream -d "$p" put src "$p/fs:/last"; verdict "$p: put again" $?
  zpool import -d "$p" -R "/mnt" "$p" && diff -r src "/mnt/$p/fs/last" > /dev/null; verdict "$p: last import" $?
  scrubbed "$p" "at the end"; zpool export "$p"; rm -r "$p" src failed.img
}

for which in $pools; do
  case $which in
    one) pool one draid1:2d:7c:1s "a b c d e f g" 12 c draid1-0-0 ;;
    two) pool two draid2:4d:9c:1s "a b c d e f g h i" 9 e draid2-0-0 ;;
    three) pool three draid3:2s "a b c d e f g h" 12 a draid3-0-1 ;;
    *) echo "BAD:  no pool $which"; bad=1 ;;
  esac
done
exit $bad
