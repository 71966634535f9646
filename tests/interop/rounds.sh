#!/bin/bash
# A pool that goes back and forth between zstream and the kernel module, three times: each finds what the other wrote,
# counts the space of datasets and owners as the other does, and finds nothing damaged.
#
#   rounds.sh guest [KIND...]    in a system with the module, as root; zstream is the program to be tested. The kinds of
#                                pool are plain and secret; without any it is those named in /in/parts, or both
set -u
[ "${1:-guest}" = guest ] || { sed -n 2,7p "$0"; exit 2; }
kinds=${*:2}; [ -n "$kinds" ] || kinds=$(cat /in/parts 2>/dev/null || echo plain secret)
bad=0
verdict() { if [ "$2" = 0 ]; then echo "good: $1"; else echo "BAD:  $1"; bad=1; fi; }
work=$(mktemp -d); cd "$work" || exit 2
echo "correct horse" | tr -d '\n' > key
sums() { (cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum); }

for kind in $kinds; do
  pool=r$kind options=""; dir=/mnt/$pool
  [ $kind = secret ] && options="-O encryption=on -O keyformat=passphrase -O keylocation=prompt"
  mkdir $pool source.$kind
  # shellcheck disable=SC2086
  zstream --key-file key pool create --size 256M $options -O compression=lz4 "$pool" "$pool/$pool.img"; verdict "$pool: create" $?
  zs() { zstream -d "$pool" --key-file key "$@"; }
  zs create "$pool/fs" && zs create -V 16M -b 8K "$pool/vol"; verdict "$pool: datasets" $?
  for n in 1 2 3; do
    # Our turn.
    src=source.$kind/$n; mkdir -p "$src/sub"; seq 1 $((n * 5000)) > "$src/text"; head -c $((n * 400000)) /dev/urandom > "$src/sub/random"
    for f in $(seq 1 40); do echo "$n $f" > "$src/sub/$f"; done; chown -R $((1000 + n)):100 "$src"
    zs put "$src" "$pool/fs:/"; verdict "$pool: put $n" $?
    head -c 3000000 /dev/urandom > image.$n; zs put image.$n "$pool/vol"; verdict "$pool: put an image $n" $?
    zs snapshot -r "$pool@ours$n"; verdict "$pool: snapshot $n" $?
    if [ "$n" -gt 1 ]; then
      zs clone "$pool/fs@theirs$((n - 1))" "$pool/clone$n" && zs destroy "$pool/fs@ours$((n - 1))"; verdict "$pool: clone and destroy $n" $?
      zs set volsize=$((16 + n))M "$pool/vol"; verdict "$pool: resize $n" $?
    fi
    zs pool check > check 2>&1; verdict "$pool: check before $n" $?
    # The module's.
    zpool import -d "$pool" -R /mnt -N "$pool"; verdict "$pool: import $n" $?
    if [ $kind = secret ]; then zfs load-key -L "file://$work/key" "$pool"; verdict "$pool: key $n" $?; fi
    zfs mount -a; verdict "$pool: mount $n" $?
    for m in $(seq 1 "$n"); do sums source.$kind/"$m" > a; sums "$dir/fs/$m" > b; cmp -s a b; verdict "$pool: files of $m in round $n" $?; done
    if [ "$n" -gt 1 ]; then
      [ "$(cat "$dir/clone$n/theirs$((n - 1))")" = "$((n - 1))" ]; verdict "$pool: the clone has the module's file $n" $?
      [ "$(zfs get -Hpo value volsize "$pool/vol")" = $(((16 + n) << 20)) ]; verdict "$pool: the volume's size $n" $?
    fi
    udevadm settle 2>/dev/null; sleep 1
    if [ -e "/dev/zvol/$pool/vol" ]; then head -c 3000000 "/dev/zvol/$pool/vol" | cmp -s - image.$n; verdict "$pool: the image $n" $?; fi
    zfs get -Hpo property,value,source volsize,volblocksize "$pool/vol" > vol.zfs
    # What is counted by owner is what is there: files are changed by the module and counted by both.
    zfs userspace -Hpn -o name,objused "$pool/fs" | sort > users
    find "$dir/fs" -printf '%U\n' | sort | uniq -c | awk '{ print $2 "\t" $1 }' | sort > users.found
    cmp -s users users.found; verdict "$pool: objects of users $n" $?; diff users users.found | head -3
    echo "$n" > "$dir/fs/theirs$n"; rm "$dir/fs/$n/sub/7"; rm source.$kind/"$n"/sub/7; echo more >> "$dir/fs/$n/text"; echo more >> source.$kind/"$n"/text
    mv "$dir/fs/$n/sub/9" "$dir/fs/$n/moved"; mv source.$kind/"$n"/sub/9 source.$kind/"$n"/moved
    zpool sync "$pool"; zfs snapshot -r "$pool@theirs$n"; verdict "$pool: snapshot of the module $n" $?
    zpool scrub -w "$pool"; zpool status "$pool" > status; grep -q 'No known data errors' status && grep -q 'repaired 0B.*0 errors' status; verdict "$pool: scrub $n" $?
    list() { "$@" -Hp -r -t all -o name,used,refer "$pool" | sort | awk -v pool="$pool" '$1 == pool { $2 = "-" } 1'; }
    list zfs list > list.zfs; zfs userspace -Hpn -o name,used,objused "$pool/fs" | sort > users
    zpool export "$pool"; verdict "$pool: export $n" $?
    # Leaving frees what waited for it. What is available then is said by an import that changes nothing.
    zpool import -d "$pool" -o readonly=on -N "$pool" && zfs get -Hpo value available "$pool" > avail.zfs && zpool export "$pool"
    verdict "$pool: import to look $n" $?
    # And ours again.
    zs pool check > check 2>&1; verdict "$pool: check $n" $?; [ -s check ] && head -3 check
    list zs list > list.zstream; cmp -s list.zfs list.zstream; verdict "$pool: list $n" $?; diff list.zfs list.zstream | head -5
    zs get -Hpo property,value,source volsize,volblocksize "$pool/vol" | cmp - vol.zfs; verdict "$pool: properties of the volume $n" $?; cat vol.zfs
    zs get -Hpo value available "$pool" > avail.zstream; cmp -s avail.zfs avail.zstream
    verdict "$pool: available $n" $?; paste avail.zfs avail.zstream
    [ "$(zs cat "$pool/fs" "/theirs$n")" = "$n" ]; verdict "$pool: the module's file $n" $?
    if [ $kind = plain ]; then
      while read -r id used objects; do
        [ "$(zs get -Hpo value "userused@$id,userobjused@$id" "$pool/fs" | xargs)" = "$used $objects" ]; verdict "$pool: user $id $n" $?
      done < users
    fi
  done
  rm -r "$pool" source.$kind
done
exit $bad
