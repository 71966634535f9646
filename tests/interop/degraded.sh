#!/usr/bin/env bash
# Pools that are changed while members are away, by zstream and by the kernel module in turn: what a member missed is resilvered
# when it is back, just that, and nothing else is found wrong.
#
#   degraded.sh guest [PART...]    as root where OpenZFS's module is loaded and zstream is on the PATH. A part is mirror, raidz2,
#                                  draid1, draid2, offline, spare, replaced (a resilver was under way), scrub (so was that) or apart
#                                  (both sides of a mirror were changed alone); without any it is those named in /in/parts, or all
#
# The last line of a good run is `bad: 0`.
set -uo pipefail
[ "${1:-guest}" = guest ] || { sed -n 2,10p "$0"; exit 2; }
parts=${*:2}; [ -n "$parts" ] || parts=$(cat /in/parts 2>/dev/null || echo all)
[ "$parts" != all ] || parts="mirror raidz2 draid1 draid2 offline spare replaced scrub apart"
bad=0; P=/sys/module/zfs/parameters
verdict() { if [ "$2" = 0 ]; then echo "good: $1"; else echo "BAD:  $1"; bad=$((bad + 1)); fi; }
work=$(mktemp -d); mkdir "$work/in" "$work/away" "$work/src"; cd "$work" || exit 2
# What is put, by whom, in which round.
fill() { head -c $((400000 + RANDOM)) /dev/urandom > "src/$1"; (cd src && sha256sum "$1") >> sums; }
make() { # VDEVS...
  rm -rf in/* away/* src/* sums; for m in a b c d e f; do truncate -s "${size:-64M}" "in/$m"; done
  zpool create -O mountpoint="$work/mnt" -O atime=off -O compression=off -o ashift=12 demo ${*//in\//$work\/in\/}; zfs create demo/fs
  fill first; cp src/first mnt/fs/first; zfs snapshot demo/fs@a; zpool sync demo; }
away() { for m in $1; do mv "in/$m" away/; done; }
back() { for m in away/*; do [ -e "$m" ] && mv "$m" in/; done; }
ours() { # NAME: changes the exported pool
  fill "$1"; zstream -d in put "src/$1" "demo/fs:/$1"; verdict "zstream puts $1" $?
  cp src/first "src/over"; zstream -d in put src/over demo/fs:/over; verdict "zstream puts a file again" $?
  zstream -d in snapshot "demo/fs@$1"; zstream -d in destroy demo/fs@a 2>/dev/null
  zstream -d in pool check > check 2>&1; verdict "zstream finds all copies good" $?
}
theirs() { fill "$1"; cp "src/$1" "mnt/fs/$1"; zfs snapshot "demo/fs@$1"; zpool sync demo; }
import() { zpool import -d "$work/in" -o cachefile=none demo; verdict "import $1" $?; }
# After the members are back: resilvered, and no more than about what was written meanwhile; then a scrub finds nothing.
whole() { # WHAT MEBIBYTES_MAX
  zpool list demo > /dev/null || return
  for _ in $(seq 60); do zpool wait -t resilver demo; sleep 1; zpool status demo | grep -q 'resilvered\|in progress since' && break; done
  zpool wait -t resilver demo; status=$(zpool status demo); echo "$status" | grep scan:
  amount=$(echo "$status" | sed -n 's/.*resilvered \([0-9.]*\)\([BKMG]\) .*/\1 \2/p'); set -- "$1" "$2" ${amount:-0 K}
  mib=${3%.*}; [ "$4" = K ] || [ "$4" = B ] && mib=0; [ "$4" = G ] && mib=9999
  [ "${amount:-}" != "" ] && [ "$mib" -le "$2" ]; verdict "resilvered after $1: $amount, at most $2 MiB" $?
  zpool clear demo; zpool scrub -w demo; status=$(zpool status demo); echo "$status" | grep 'scan:'
  echo "$status" | grep -q 'repaired 0B .* with 0 errors' && echo "$status" | grep -q 'No known data errors'; verdict "scrub after $1" $?
  (cd mnt/fs && sha256sum --quiet -c "$work/sums"); verdict "files after $1" $?
}
clean() { zpool export demo; verdict "export" $?; zdb -e -p "$work/in" -bcc demo > zdb 2>&1; grep -q 'No leaks' zdb; verdict "zdb -bcc" $?; }
# Three rounds: changed here without some members, resilvered there; changed there without others, changed here with and without.
rounds() { # FIRST SECOND VDEVS...
  first=$1; second=$2; shift 2
  make "$@"; zpool export demo
  for round in 1 2 3; do
    away "$first"; ours "here$round"; back; import "of all after zstream changed without $first"; whole "round $round" 4; clean
    away "$second"; import "without $second"; theirs "there$round"; zpool export demo; ours "both$round"; back
    ours "all$round"; import "of all after both changed without $second"; whole "round $round again" 8; clean
  done
}
mirror() { rounds b a mirror in/a in/b; }
raidz2() { rounds "b d" "a" raidz2 in/a in/b in/c in/d; }
draid1() { size=112M rounds b a draid1:2d:5c:1s in/a in/b in/c in/d in/e; }
draid2() { size=112M rounds "b d" "a" draid2:2d:6c:0s in/a in/b in/c in/d in/e in/f; }
# The halves of a mirror that were changed alone: the newest state counts, and nothing on the other side is taken for good, not even
# what it had before, since it may have reused the space. OpenZFS resilvers all of it.
apart() { # who changes them, the module or zstream, does not matter
  for who in here there; do
    make mirror in/a in/b; for n in 1 2 3 4; do fill "old$n" 600000; cp "src/old$n" mnt/fs/; done; zpool export demo
    for side in a b; do
      [ $side = a ] && other=b || other=a; away $other
      if [ $who = here ]; then for n in 1 2; do head -c 600000 /dev/urandom > "src/$side"; zstream -d in put "src/$side" "demo/fs:/old$n"; zstream -d in put "src/$side" "demo/fs:/$side$n"; done
      else import "$side alone"; for n in 1 2; do head -c 600000 /dev/urandom > "mnt/fs/old$n"; zpool sync demo; head -c 600000 /dev/urandom > "mnt/fs/$side$n"; zpool sync demo; done; zpool export demo; fi; back
    done
    rm src/a src/b 2> /dev/null; (grep -v ' old[12]$' sums) > sums.kept; mv sums.kept sums
    zstream -d in ls demo/fs > listed 2> said; grep -q 'was written apart' said; verdict "zstream reports the side that was written apart" $?; cat listed | tr '\n' ' '
    zstream -d in pool check > check 2>&1; grep -q ' 0 of .* copies are damaged, 0 blocks lost' check; verdict "no copy is wrong that counts" $?
    ours "after$who"; import "of both sides"; whole "sides that were written apart" 20; clean
  done
}
offline() {
  make mirror in/a in/b in/c; zpool offline demo "$work/in/b"; zpool export demo; before=$(sha256sum < in/b); ours here
  [ "$before" = "$(sha256sum < in/b)" ]; verdict "a member that is offline is not touched" $?
  import "with a member offline"; zpool online demo "$work/in/b"; whole "a member was offline" 4; clean
}
# The tools open a spare with O_DIRECT, which memory has not: the members are in a pool of their own.
spare() {
  truncate -s 700M outer.img; zpool create -O mountpoint="$work/outer" -O compression=lz4 outer "$work/outer.img"
  mkdir outer/in outer/away; rm -rf in away; ln -s outer/in in; ln -s outer/away away
  make raidz1 in/a in/b in/c spare in/d; zpool replace demo "$work/in/b" "$work/in/d"; verdict "the spare is in use" $?
  for _ in $(seq 60); do zpool status demo | grep -q 'resilvered .* with 0 errors' && break; sleep 1; done; zpool export demo
  ours here; away b; ours without; back; import "with a spare in use"; whole "a spare was in use" 6; zpool status demo | grep -A9 NAME; clean
  rm in away; mkdir in away; zpool destroy outer; rm outer.img
}
replaced() {
  make raidz1 in/a in/b in/c; echo 1 > $P/zfs_scan_suspend_progress; zpool replace -f demo "$work/in/b" "$work/in/d"; sleep 3
  zpool status demo | grep -q 'resilver in progress'; verdict "a resilver is under way" $?; zpool export demo
  ours here; away b; ours without; back; echo 0 > $P/zfs_scan_suspend_progress; import "with a resilver under way"
  for _ in $(seq 60); do sleep 1; zpool status demo | grep -q replacing || break; done
  ! zpool status demo | grep -q replacing; verdict "the replacement is complete" $?
  zpool scrub -w demo; zpool status demo | grep -q 'repaired 0B .* with 0 errors'; verdict "scrub" $?
  (cd mnt/fs && sha256sum --quiet -c "$work/sums"); verdict "files" $?
  rm in/b; clean
}
scrub() {
  make mirror in/a in/b; echo 1 > $P/zfs_scan_suspend_progress; zpool scrub demo; sleep 2; zpool export demo
  ours here; zstream -d in destroy -r demo/fs@here; echo 0 > $P/zfs_scan_suspend_progress; import "with a scrub under way"
  for _ in $(seq 60); do sleep 1; zpool status demo | grep -q 'in progress' || break; done; zpool status demo | grep scan:
  zpool status demo | grep -q 'repaired 0B .* with 0 errors'; verdict "the scrub starts again, and ends" $?
  (cd mnt/fs && sha256sum --quiet -c "$work/sums"); verdict "files" $?; clean
}
for part in $parts; do echo "== $part"; "$part"; done
echo "bad: $bad"; [ "$bad" = 0 ]
