#!/usr/bin/env bash
# Files that `zstream put` writes, in the hands of the kernel module: imported, compared with their source, counted by
# owner, changed, added to, snapshots sent and received, scrubbed; then put again into what the module wrote.
#
#   put.sh guest [PART...]    as root where OpenZFS's module is loaded; zstream is the program to be tested. A part is a
#                             kind of filesystem, 1 to 3; without any it is those named in /in/parts, or all
#
# Needs getfattr and setfattr (Debian: attr). The last line of a good run is `bad: 0`.
set -uo pipefail
[ "${1:-guest}" = guest ] || { sed -n 2,9p "$0"; exit 2; }
parts=${*:2}; [ -n "$parts" ] || parts=$(cat /in/parts 2>/dev/null || echo 1 2 3)
zstream=${ZSTREAM:-zstream}
bad=0
verdict() { if [ "$2" = 0 ]; then echo "good: $1"; else echo "BAD:  $1"; bad=$((bad + 1)); fi; }
work=$(mktemp -d); cd "$work" || exit 2

# list DIR: all that a tree holds
list() {
  (cd "$1" && find . -printf '%P|%y|%m|%U:%G|%n|%l\n' | sort
   find . ! -type d -printf '%P|%s|%T@\n' | sort
   find . -type d -printf '%P|%T@\n' | sort
   find . -type f -print0 | sort -z | xargs -0 sha256sum
   # One node at a time: both their order and that of attributes is the directory's.
   find . -print0 | sort -z | while IFS= read -r -d '' node; do
     getfattr -h -d -m user -e hex "$node" 2>/dev/null | sort; done)
}

# make DIR N: a tree of every kind of node
make() {
  mkdir -p "$1"/{plain,deep/er/est,closed,many,"odd name
with a newline"}
  head -c 3000000 /dev/urandom > "$1/plain/random"; seq 1 100000 > "$1/plain/text"; : > "$1/plain/empty"
  head -c 131072 /dev/urandom > "$1/plain/record"; head -c 131073 /dev/urandom > "$1/plain/record and one"
  truncate -s 50M "$1/plain/sparse"; echo middle | dd of="$1/plain/sparse" bs=1 seek=20000000 conv=notrunc 2>/dev/null
  ln "$1/plain/text" "$1/deep/er/hard"; ln -s ../../plain/text "$1/deep/er/soft"
  ln -s "$(printf 'x%.0s' $(seq 1 1000))" "$1/deep/long"
  mkfifo "$1/deep/fifo"; mknod "$1/deep/null" c 1 3; mknod "$1/deep/disk" b 8 17
  for n in $(seq 1 300); do echo "$n" > "$1/many/file $n"; done
  echo secret > "$1/closed/file"; chmod 0700 "$1/closed"; chmod 0604 "$1/plain/text"; chmod 4755 "$1/plain/record"
  chown 1000:1001 "$1/plain/random"; chown -h 1000:1000 "$1/deep/er/soft"; chown 70000:70000 "$1/closed"
  setfattr -n user.short -v "value $2" "$1/plain/text"; setfattr -n user.dir -v d "$1/deep"
  for n in $(seq 1 12); do setfattr -n "user.middle$n" -v "$(head -c 1500 /dev/zero | tr '\0' a)" "$1/plain/empty"; done
  setfattr -n user.large -v "$(head -c 40000 /dev/zero | tr '\0' b)" "$1/plain/record"
  touch -d '1999-12-31 23:59:59.123456789' "$1/plain/text"; touch -d '1960-01-01 00:00:00' "$1/closed"
  chmod 0751 "$1"
}

# import POOL: and mount what is in it
import() { zpool import -d "$work" -R /mnt "$1"; }

# The sources lie in a filesystem of the module, so that they have extended attributes everywhere.
truncate -s 400M source.img && zpool create -O xattr=sa -O mountpoint="$work/source" source "$work/source.img" || exit 2
make source/one 1; make source/two 2; ln -s source/one one; ln -s source/two two
kinds=("" "-O compression=lz4 -O xattr=sa" "-O compression=off -O xattr=dir -O recordsize=4K -o ashift=9"
  "-O compression=zstd -O recordsize=1M -O dnodesize=1k -O xattr=sa")
for part in $parts; do
  options=${kinds[$part]}
  pool=p${#options}; dir=/mnt/$pool
  # shellcheck disable=SC2086
  "$zstream" pool create --size 512M -o feature@large_dnode=enabled -o feature@zstd_compress=enabled $options "$pool" "$work/$pool.img"
  verdict "create $options" $?
  "$zstream" -d "$pool.img" put one/ "$pool:/"; verdict "put" $?
  import "$pool"; verdict "import" $?
  list one > a; list "$dir" > b; cmp -s a b; verdict "the tree is the same" $?; diff a b | head -5
  [ "$(du -k "$dir/plain/sparse" | cut -f1)" -lt 2048 ]; verdict "holes are holes" $?
  # What is counted by owner: the module counts anew what was put.
  sleep 1; zpool sync "$pool"
  zfs userspace -Hpn -o name,used,objused "$pool" > users; cat users
  [ "$(awk '$1 == 1000 { print $3 }' users)" = 2 ]; verdict "objects of a user" $?
  # The module goes on where the writer stopped.
  for n in $(seq 301 400); do echo "$n" > "$dir/many/file $n"; done; rm "$dir"/many/file\ 1*; rm -r "$dir/deep"
  [ "$(ls "$dir/many" | wc -l)" = "$(ls "$dir/many" | sort -u | wc -l)" ]; verdict "names are there once" $?
  echo more >> "$dir/plain/text"; echo over > "$dir/plain/record and one"; chmod 0640 "$dir/plain/random"
  setfattr -n user.added -v x "$dir/plain/text" && setfattr -x user.large "$dir/plain/record"; verdict "attributes change" $?
  mv "$dir/closed" "$dir/plain/moved" && ln "$dir/plain/text" "$dir/another"; verdict "names change" $?
  zfs snapshot "$pool@module" && zfs send "$pool@module" | zfs receive "$pool/copy"; verdict "send and receive" $?
  mkdir -p snap; mount -t zfs "$pool@module" snap; list snap > a; umount snap; list "$dir/copy" > b; cmp -s a b; verdict "the copy is the same" $?; diff a b | head -5
  zpool scrub -w "$pool"; zpool status "$pool" | grep -q 'No known data errors'; verdict "scrub" $?
  zfs destroy -r "$pool/copy"; zfs userspace -Hpn -o name,used,objused "$pool" > users.before
  zpool export "$pool"; verdict "export" $?
  [ -d /out ] && cp --sparse=always "$pool.img" "/out/$pool.exported.img"
  # The writer goes on where the module stopped.
  "$zstream" -d "$pool.img" put two/ "$pool:/"; verdict "put over what the module wrote" $?
  "$zstream" -d "$pool.img" put two/plain "$pool:/new"; verdict "put by another name" $?
  "$zstream" -d "$pool.img" pool check; verdict "check" $?
  import "$pool"; verdict "import again" $?
  for sub in deep closed "odd name
with a newline"; do
    list "two/$sub" > a; list "$dir/$sub" > b; cmp -s a b; verdict "$sub is the same" $?; diff a b | head -5
  done
  [ "$(cat "$dir/new/text" | sha256sum)" = "$(sha256sum < two/plain/text)" ] && [ -f "$dir/plain/moved/file" ]; verdict "both are there" $?
  # Counting everything anew must give what was counted.
  sleep 1; zpool sync "$pool"; zfs userspace -Hpn -o name,used,objused "$pool" > users
  zfs list -Hp -o used "$pool" > /dev/null
  counted=$(awk '{ sum += $3 } END { print sum }' users); found=$(find "$dir" -xdev -printf '%i\n' | sort -u | wc -l)
  hidden=0; [ "$counted" -ge "$found" ] && [ "$((counted - found))" -le 60 ]; verdict "objects are counted: $counted of $found" $?
  zpool scrub -w "$pool"; zpool status "$pool" | grep -q 'No known data errors'; verdict "scrub again" $?
  rm -r "${dir:?}"/*; zpool sync "$pool"; sleep 1; zpool sync "$pool"
  zfs userspace -Hpn -o name,used,objused "$pool"; [ "$(zfs userspace -Hpn -o objused "$pool" | awk '{ s += $1 } END { print s }')" = 1 ]
  verdict "nothing is counted but the root" $?
  zpool export "$pool"; rm "$pool.img"
done
echo "bad: $bad"
exit $((bad > 0))
