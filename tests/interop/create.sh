#!/bin/bash
# Pools that zstream creates, in the hands of the kernel module: imported without -f, mounted, scrubbed, written to, snapshots
# made, exported; and then changed and checked by zstream again, several times.
#
#   create.sh guest      in a system with the module, as root; zstream is the program to be tested
set -u
[ "${1:-guest}" = guest ] || { sed -n 2,6p "$0"; exit 2; }
bad=0
verdict() { if [ "$2" = 0 ]; then echo "good: $1"; else echo "BAD:  $1"; bad=1; fi; }
work=$(mktemp -d); cd "$work" || exit 2

round() { # round POOL DIR N: the module imports, writes and exports; zstream looks at it
  pool=$1 dir=$2 n=$3
  zpool import -d "$dir" -R /mnt "$pool"; verdict "$pool: import $n" $?
  zfs mount | grep -q "^$pool " ; verdict "$pool: mounted $n" $?
  [ "$n" = 1 ] || [ "$(cat /mnt/"$pool"/file$((n - 1)))" = "content $((n - 1))" ]; verdict "$pool: files of round $((n - 1))" $?
  echo "content $n" > /mnt/"$pool"/file"$n"; dd if=/dev/urandom of=/mnt/"$pool"/random"$n" bs=64k count=40 2>/dev/null
  zfs create "$pool/fs$n" && seq 1 20000 > /mnt/"$pool/fs$n"/text; verdict "$pool: write $n" $?
  zfs snapshot -r "$pool@module$n"; verdict "$pool: snapshot $n" $?
  zpool scrub -w "$pool"; zpool status "$pool" > status; grep -q 'No known data errors' status; verdict "$pool: scrub $n" $?
  grep -q 'repaired 0B.*0 errors' status; verdict "$pool: nothing to repair $n" $?
  zpool history "$pool" | grep -q 'pool create'; verdict "$pool: history $n" $?
  # An export writes to the pool's own set, which the root dataset counts: of that only what it refers to is compared.
  list() { "$@" list -Hp -r -t all -o name,used,refer "$pool" | sort | awk -v pool="$pool" '$1 == pool { $2 = "-" } 1'; }
  list zfs > list.zfs
  zpool export "$pool"; verdict "$pool: export $n" $?
  list zstream -d "$dir" > list.zstream
  cmp -s list.zfs list.zstream; verdict "$pool: list $n" $?
  [ "$bad" = 0 ] || { diff list.zfs list.zstream | head -5; }
  zstream -d "$dir" pool check > check 2>&1; verdict "$pool: check $n" $?
}

i=0
for vdevs in "a" "mirror a b" "raidz1 a b c" "raidz2 a b c d e" "raidz3 a b c d e f" "a mirror b c special d" "a log b"; do
  for ashift in 9 12; do
    i=$((i + 1)); pool=p$i; mkdir $pool
    (cd $pool && zstream pool create --size 128M -f -o ashift=$ashift -O compression=lz4 -O org.example:note=hi $pool $vdevs)
    verdict "$pool: create $vdevs ashift $ashift" $?
    round $pool $pool 1
    zstream -d $pool snapshot $pool@zstream1 2>/dev/null
    round $pool $pool 2
    rm -r $pool
  done
done
exit $bad
