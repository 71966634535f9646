#!/bin/bash
# Streams that OpenZFS sent, received three times: by the kernel module, by zstream into a pool that the module made, and by
# zstream into a pool of its own. The module then imports all three: files are the same, a scrub finds nothing, and what it
# sends of each snapshot is the same, byte for byte.
#
#   recv.sh guest      as root where OpenZFS's module is loaded; zstream is the program to be tested
#
# The streams are golden ones, in /in (NAME.zfs). The last line of a good run is `bad: 0`.
set -u
[ "${1:-guest}" = guest ] || { sed -n 2,8p "$0"; exit 2; }
bad=0
verdict() { if [ "$2" = 0 ]; then echo "good: $1"; else echo "BAD:  $1"; bad=$((bad + 1)); fi; }
work=$(mktemp -d); cd "$work" || exit 2
mkdir mnt

# Stream, snapshot, origin; in this order.
list='
fs-full fs1@a
fs-incr fs1@b
clone-incr clone@x fs1@a
fs-full-c fs2@a
fs-incr-ac fs2@c
fs-full-e fs3@a
fs-incr-ec fs3@b
fs-full-Lec fs4@a
fs-incr-book fs4@b
fs-redacted red@a
fs-from-redbook red@b
fs-redacted-two red2@a
fs-unredact whole@a red2@a
rs512 rs512@s
rs512-Lec rs512L@s
rs4k rs4k@s
rs4k-Lec rs4kL@s
rs1m rs1m@s
rs1m-Lec rs1mL@s
dn dn@s
dn-Lec dnL@s
c-off-c c-off@s
c-lzjb-c c-lzjb@s
c-gzip-9-c c-gzip@s
c-zle-c c-zle@s
c-zstd-3-c c-zstd@s
c-zstd-fast-10-c c-fast@s
k-fletcher2 k-fletcher2@s
k-sha256 k-sha256@s
k-skein k-skein@s
k-edonr k-edonr@s
k-blake3 k-blake3@s
e-aes-256-gcm-raw gcm@s
e-aes-256-gcm-raw-incr gcm@t
e-aes-256-gcm-plain gcmp@s
e-aes-128-ccm-raw ccm@s
e-aes-128-ccm-raw-incr ccm@t
vol vol@s
vol-incr vol@t
pmirror pmirror@s
praidz2 praidz2@s
fs-head head@now
'
packages='
tree-R tree
tree-R-incr tree
'
in=/in; [ -d /in/streams ] && in=/in/streams

receive() { # receive WHO: all streams into the pool, by the module or by zstream
  local stream to origin
  while read -r stream to origin; do
    [ -f "$in/$stream.zfs" ] || continue
    if [ "$1" = module ]; then zfs receive -u ${origin:+-o origin=pool/$origin} "pool/$to" < "$in/$stream.zfs"
    else zstream -d "$1" recv -u ${origin:+-o origin=pool/$origin} "pool/$to" < "$in/$stream.zfs"; fi
    verdict "$1: $stream into $to" $?
  done <<< "$list"
  while read -r stream to; do
    [ -f "$in/$stream.zfs" ] || continue
    if [ "$1" = module ]; then zfs receive -u -F "pool/$to" < "$in/$stream.zfs"
    else zstream -d "$1" recv -u -F "pool/$to" < "$in/$stream.zfs"; fi
    verdict "$1: $stream into $to" $?
  done <<< "$packages"
}

look() { # look NAME: what the module makes of the pool
  local name=$1 snapshot last options
  zpool scrub -w pool; zpool status pool > status
  grep -q 'repaired 0B.*with 0 errors' status && grep -q 'No known data errors' status; verdict "$name: scrub" $?
  mkdir -p "$name"; : > "$name/list"
  zfs list -Hp -t filesystem,volume,snapshot -o name,guid,creation,origin,volsize,encryption,keystatus -r pool |
    grep -v '^pool\s' > "$name/datasets"
  # Guids of heads are random.
  awk -F'\t' '$1 !~ /@/ { $2 = "-"; $3 = "-" } 1' OFS='\t' "$name/datasets" > "$name/datasets.same"
  last=
  for snapshot in $(zfs list -H -t snapshot -o name -s createtxg -r pool | sort -s -t@ -k1,1); do
    [ "${last%@*}" = "${snapshot%@*}" ] || last=
    if [ "$(zfs get -H -o value encryption "$snapshot")" != off ]; then sends="-w"; else sends="- -Lec -w"; fi
    for options in $sends; do
      [ "$options" = - ] && options=
      f=$(echo "$snapshot$options" | tr / _)
      # shellcheck disable=SC2086
      zfs send $options "$snapshot" > "$name/$f.zfs" 2> "$name/$f.err" || echo "$f fails: $(cat "$name/$f.err")" >> "$name/list"
      if [ -n "$last" ]; then
        zfs send $options -i "$last" "$snapshot" > "$name/$f.incr.zfs" 2> "$name/$f.err" || echo "$f increment fails: $(cat "$name/$f.err")" >> "$name/list"
      fi
      rm "$name/$f.err"
    done
    last=$snapshot
  done
  for fs in fs1 fs4 clone rs1m dnL c-zstd gcmp tree; do
    zfs list pool/$fs > /dev/null 2>&1 || continue
    mount -t zfs -o ro,zfsutil pool/$fs mnt 2> /dev/null || mount -t zfs -o ro pool/$fs mnt; verdict "$name: mount $fs" $?
    (cd mnt && find . -printf '%P|%y|%m|%U:%G|%n|%s|%T@|%l\n' | sort; find . -type f -print0 | sort -z | xargs -0 sha256sum) > "$name/$fs.files"
    umount mnt
  done
  zpool export pool; verdict "$name: export" $?
}

for name in module theirs ours; do
  mkdir d; truncate -s 768M d/pool.img
  if [ $name = ours ]; then (cd d && rm pool.img && zstream pool create --size 768M -o ashift=12 -O mountpoint=none pool pool.img)
  else zpool create -o ashift=12 -O mountpoint=none pool "$PWD/d/pool.img"; fi
  verdict "$name: create" $?
  if [ $name = module ]; then receive module
  else
    [ $name = ours ] || zpool export pool
    receive d
    zstream -d d pool check > check; verdict "$name: zstream pool check" $?
    zpool import -d "$PWD/d" pool; verdict "$name: import" $?
  fi
  look $name
  rm -r d
done

for name in theirs ours; do
  same=0 all=0
  for file in module/*; do
    f=${file#module/}; all=$((all + 1))
    [ "$f" = datasets ] && continue
    if cmp -s "$file" "$name/$f"; then same=$((same + 1)); else
      verdict "$name: $f is that of the module" 1
      case $f in
        *.zfs) zstream dump -v < "$file" > x; zstream dump -v < "$name/$f" > y; diff -U0 x y | grep "^[-+]" | head -6 ;;
        *) diff -U0 "$file" "$name/$f" | grep "^[-+]" | head -6 ;;
      esac
    fi
  done
  echo "$name: $same of $all the same"
  [ $same -gt 40 ]; verdict "$name: what there is to compare" $?
done
echo "bad: $bad"
[ $bad = 0 ]
