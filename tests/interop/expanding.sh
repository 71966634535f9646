#!/usr/bin/env bash
# A raidz vdev that is changed by zstream in the middle of an expansion: OpenZFS reads what was written, completes the expansion, and
# finds nothing wrong; so does zstream at each step.
#
#   expanding.sh guest [PART...]   as root where OpenZFS's module is loaded and zstream is on the PATH. A part is early, middle, late (how
#                                  far the expansion is), two (raidz2), degraded or scratch; without any it is those named in
#                                  /in/parts, or all but scratch, which needs luck
#
# The last line of a good run is `bad: 0`.
set -uo pipefail
[ "${1:-guest}" = guest ] || { sed -n 2,11p "$0"; exit 2; }
parts=${*:2}; [ -n "$parts" ] || parts=$(cat /in/parts 2>/dev/null || echo all)
[ "$parts" != all ] || parts="early middle late two degraded"
bad=0; P=/sys/module/zfs/parameters
verdict() { if [ "$2" = 0 ]; then echo "good: $1"; else echo "BAD:  $1"; bad=$((bad + 1)); fi; }
work=$(mktemp -d); cd "$work" || exit 2; mkdir src in away
fill() { head -c "$2" /dev/urandom > "src/$1"; (cd src && sha256sum "$1") >> sums; }
ours() { # NAME: changes the exported pool
  fill "$1" $((900000 + RANDOM)); zstream -d in put "src/$1" "demo/fs:/$1" 2> err; verdict "zstream puts $1 $(cat err)" $?
  cp src/first src/over; zstream -d in put src/over demo/fs:/over 2> err; verdict "zstream puts a file again $(cat err)" $?
  zstream -d in snapshot "demo/fs@$1"; verdict "snapshot" $?
  zstream -d in pool check > check 2>&1; verdict "zstream finds all copies good" $?; grep -v '^demo: checked' check | head -3; }
import() { zpool import -d "$work/in" -o cachefile=none demo; verdict "import $1" $?; }
same() { (cd mnt/fs && sha256sum --quiet -c "$work/sums"); verdict "files $1" $?; }
scrubbed() { zpool scrub -w demo; zpool status demo | grep -q 'repaired 0B .* with 0 errors'; verdict "scrub $1" $?; zpool status demo | grep -E 'scan:|expan' ; }
make() { # ASHIFT RAIDZ MEMBERS... NEW: a pool whose expansion is about to begin
  local ashift=$1 kind=$2 m all=(); shift 2
  rm -rf in/* away/* src/* sums
  for m in "$@"; do truncate -s 96M "in/$m"; [ "$m" = new ] || all+=("$work/in/$m"); done
  zpool create -O mountpoint="$work/mnt" -O atime=off -O compression=off -o ashift="$ashift" demo "$kind" "${all[@]}"; zfs create demo/fs
  fill first 3000000; for n in $(seq 30); do fill "f$n" $((n * 60000)); done; cp src/* mnt/fs/; zpool sync demo; }
# While it is paused: changed here, imported, changed there, changed here; then it is completed.
expand() { # WHAT PAUSE_AT ASHIFT RAIDZ MEMBERS...
  local what=$1 at=$2; shift 2; make "$@"
  echo "$at" > $P/raidz_expand_max_reflow_bytes; zpool attach demo "$2-0" "$work/in/new"; sleep 12
  zpool status demo | grep -A2 expand; zpool export demo; zstream -d in pool show | head -20
  [ "$what" != degraded ] || { mv in/b away/; }
  ours here; import "$what, paused"; same "paused"; fill there 700000; cp src/there mnt/fs/; zfs snapshot demo/fs@there; zpool sync demo; zpool export demo; ours again
  zfs=$(zstream -d in send demo/fs@there | sha256sum); [ ! -e away/b ] || mv away/b in/
  import "$what, paused again"; [ "$(zfs send demo/fs@there | sha256sum)" = "$zfs" ]; verdict "sends are equal" $?
  [ "$what" != degraded ] || zpool wait -t resilver demo
  scrubbed "$what, paused"; echo 0 > $P/raidz_expand_max_reflow_bytes; zpool wait -t raidz_expand demo; sleep 2; zpool wait -t scrub demo
  zpool status demo | grep -q 'expanded raidz'; verdict "the expansion is complete" $?; same "after it"; scrubbed "after it"; zpool export demo
  zdb -e -p "$work/in" -bcc demo > zdb 2>&1; grep -q 'No leaks' zdb; verdict "zdb -bcc" $?
  ours last; import "$what, complete"; same "at the end"; scrubbed "at the end"; zpool export demo; }
early() { expand early 15000000 12 raidz1 a b c new; }
middle() { expand middle 30000000 9 raidz1 a b c new; }
late() { expand late 60000000 12 raidz1 a b c new; }
two() { expand two 31000000 12 raidz2 a b c d new; }
degraded() { expand degraded 30000000 12 raidz1 a b c new; }
# The state in which the first sectors are only in the scratch area lasts for milliseconds: copies of the members are taken until one
# is in it. What is found is left in /out.
scratch() {
  ls $P | grep raidz; make 9 raidz1 a b c new; (cd mnt/fs && find . -type f | sort | xargs sha256sum) > /out/scratch.sums
  for m in a b c new; do zinject -d "$work/in/$m" -D 400:1 -T write demo 2> /dev/null; done
  zpool attach demo raidz1-0 "$work/in/new" & 
  for n in $(seq 200); do
    mkdir -p copy; for m in a b c new; do cp --sparse=always "in/$m" copy/; done
    state=$(zstream -d copy pool show --json 2> /dev/null | grep -o 'scratch[^,]*' | head -1)
    zdb -lu copy/a 2> /dev/null | grep -i 'raidz_reflow' | sort | uniq -c | tail -1
    if zdb -luuu copy/a 2> /dev/null | grep -q 'state=1'; then echo "found after $n"; cp -r copy /out/scratch; break; fi
    sleep 0.1
  done
  zinject -c all; wait; zpool export demo; }
for part in $parts; do echo "== $part"; "$part"; done
echo "bad: $bad"; [ "$bad" = 0 ]
