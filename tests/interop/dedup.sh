#!/bin/bash
# A pool with deduplicated blocks that goes back and forth between zstream and the kernel module, twice: each shares the blocks
# that the other wrote and counts the references that the other made and dropped, a scrub repairs nothing, and the last block
# takes the tables with it.
#
#   dedup.sh guest [KIND...]    in a system with the module, as root; zstream is the program to be tested. The kinds of pool are
#                               legacy, fast and secret; without any it is those named in /in/parts, or all
set -u
[ "${1:-guest}" = guest ] || { sed -n 2,8p "$0"; exit 2; }
kinds=${*:2}; [ -n "$kinds" ] || kinds=$(cat /in/parts 2>/dev/null || echo legacy fast secret)
bad=0
verdict() { if [ "$2" = 0 ]; then echo "good: $1"; else echo "BAD:  $1"; bad=1; fi; }
work=$(mktemp -d); cd "$work" || exit 2
echo "correct horse" | tr -d '\n' > key
same() { cmp -s "$1" "$2"; verdict "$3" $?; }

for kind in $kinds; do
  pool=d$kind options="" features="-o feature@fast_dedup=enabled" dir=/mnt/$pool; mkdir "$pool"
  [ "$kind" = legacy ] && features=""
  [ "$kind" = secret ] && options="-O encryption=on -O keyformat=passphrase -O keylocation=prompt"
  # shellcheck disable=SC2086
  zstream --key-file key pool create --size 128M $features $options -O recordsize=16k -O compression=off -O dedup=sha256 "$pool" "$pool/1.img" "$pool/2.img"; verdict "$pool: create" $?
  zs() { zstream -d "$pool" --key-file key "$@"; }
  ratio() { "$@" get -Hpo value dedupratio "$pool"; }
  zs create "$pool/a" && zs create "$pool/b"; verdict "$pool: datasets" $?
  head -c 700001 /dev/urandom > source; zs put source "$pool/a:/"; verdict "$pool: put" $?
  for n in 1 2; do
    # Our turn: the same content in other files and datasets; some is overwritten and destroyed.
    zs put source "$pool/a:/own$n" && zs put source "$pool/b:/other$n"; verdict "$pool: put again $n" $?
    zs snapshot -r "$pool@ours$n"; verdict "$pool: snapshot $n" $?
    if [ "$n" -gt 1 ]; then
      head -c 300000 /dev/urandom > changed; zs put changed "$pool/a:/theirs$((n - 1))"; verdict "$pool: overwrite what the module wrote $n" $?
      zs destroy -r "$pool@ours$((n - 1))"; verdict "$pool: destroy snapshots $n" $?
    fi
    zs pool check > check 2>&1; verdict "$pool: check before $n" $?
    zdb -e -p "$pool" -bcc "$pool" > zdb 2>&1; grep -q 'No leaks' zdb; verdict "$pool: zdb before $n" $?
    ours=$(ratio zs pool)
    # The module's.
    zpool import -d "$pool" -R /mnt -N "$pool"; verdict "$pool: import $n" $?
    if [ "$kind" = secret ]; then zfs load-key -L "file://$work/key" "$pool"; verdict "$pool: key $n" $?; fi
    zfs mount -a; verdict "$pool: mount $n" $?
    theirs=$(ratio zpool); [ "$ours" = "$theirs" ]; verdict "$pool: ratio $n, $ours and $theirs" $?
    for file in a/own$n b/other$n; do same source "$dir/$file" "$pool: $file"; done
    cat source > "$dir/a/theirs$n"; cat source > "$dir/b/theirs$n"; zpool sync "$pool"; rm "$dir/a/own$n"; echo changed | dd of="$dir/b/other$n" bs=16k seek=3 conv=notrunc 2>/dev/null
    zpool sync "$pool"; more=$(ratio zpool); [ "$more" != "$theirs" ]; verdict "$pool: the module shares our blocks $n: $more" $?
    zpool scrub -w "$pool"; zpool status "$pool" > status; grep -q 'No known data errors' status && grep -q 'repaired 0B.*0 errors' status; verdict "$pool: scrub $n" $?
    cp "$dir/a/theirs$n" kept; same source kept "$pool: what the module wrote $n"
    theirs=$(ratio zpool); zpool export "$pool"; verdict "$pool: export $n" $?
    zs pool check > check 2>&1; verdict "$pool: check after $n" $?; [ -s check ] && grep -v checked check | head -3
    ours=$(ratio zs pool); [ "$ours" = "$theirs" ]; verdict "$pool: ratio after $n, $ours and $theirs" $?
  done
  if [ "$kind" = fast ]; then
    # Entries that share nothing are removed, by each for the other; then what has no entry is written again, and freed.
    for by in module zstream; do
      head -c 300000 /dev/urandom > "alone-$by"; zs put "alone-$by" "$pool/a:/"; verdict "$pool: put alone-$by" $?
      zpool import -d "$pool" -R /mnt -N "$pool"; zfs mount -a
      if [ "$by" = module ]; then
        sleep 2; zpool ddtprune -p 100 "$pool"; verdict "$pool: the module prunes" $?; zpool sync "$pool"; zpool export "$pool"
        zs pool ddtprune -p 100 "$pool" > pruned; verdict "$pool: and zstream after it: $(cat pruned)" $?
      else
        zpool export "$pool"; zs pool ddtprune -p 100 "$pool" > pruned; [ "$(cat pruned)" != "removed 0 entries" ]; verdict "$pool: zstream prunes: $(cat pruned)" $?
      fi
      zs pool check > check 2>&1; verdict "$pool: check after pruning by $by" $?
      zdb -e -p "$pool" -bcc "$pool" > zdb 2>&1; grep -q 'No leaks' zdb; verdict "$pool: zdb after pruning by $by" $?
      zs put "alone-$by" "$pool/b:/"; verdict "$pool: the same content again" $?
      zpool import -d "$pool" -R /mnt -N "$pool"; zfs mount -a; same "alone-$by" "$dir/a/alone-$by" "$pool: alone-$by"
      cat "alone-$by" > "$dir/b/third-$by"; rm "$dir/a/alone-$by"; zpool sync "$pool"; zpool scrub -w "$pool"; zpool status "$pool" | grep -q 'repaired 0B.*0 errors'; verdict "$pool: scrub after pruning by $by" $?
      # With a quota that is used up, nothing is entered, by either.
      zpool set dedup_table_quota=1 "$pool"; zpool export "$pool"; ours=$(ratio zs pool)
      [ "$(zs pool get -Hpo value dedup_table_quota "$pool")" = 1 ]; verdict "$pool: the quota" $?
      head -c 100000 /dev/urandom > over; zs put over "$pool/a:/over$by" && zs put over "$pool/b:/over$by"; verdict "$pool: put above the quota" $?
      zs pool set dedup_table_quota=none "$pool"; verdict "$pool: no quota" $?
      zpool import -d "$pool" -R /mnt -N "$pool"; [ "$(zpool get -Ho value dedup_table_quota "$pool")" = none ]; verdict "$pool: no quota for the module" $?
      theirs=$(ratio zpool); [ "$ours" = "$theirs" ]; verdict "$pool: nothing above the quota is shared, $ours and $theirs" $?; zpool export "$pool"
    done
  fi
  # All of it is freed: half by the module, half by zstream.
  zpool import -d "$pool" -R /mnt -N "$pool"; zfs destroy -r "$pool/b"; verdict "$pool: the module destroys half" $?; zpool sync "$pool"; zpool wait -t free "$pool"; zpool export "$pool"
  zs pool check > check 2>&1; verdict "$pool: check of what is left" $?
  if [ "$kind" = fast ]; then
    zpool import -d "$pool" -R /mnt -N "$pool"; zfs destroy -r "$pool/a"; verdict "$pool: the module destroys the rest" $?; zpool sync "$pool"; zpool wait -t free "$pool"
    # The log is moved to the table some transaction groups later.
    for n in $(seq 20); do zfs set "a:b=$n" "$pool"; zpool sync "$pool"; done
  else
    zs destroy -r "$pool/a"; verdict "$pool: zstream destroys the rest" $?
    zpool import -d "$pool" -R /mnt -N "$pool"
    [ "$(zpool get -Ho value feature@fast_dedup "$pool")" != active ]; verdict "$pool: no table is left" $?
  fi
  [ "$(ratio zpool)" = 1.00 ]; verdict "$pool: no reference is left" $?
  zpool export "$pool"; zs pool check > check 2>&1; verdict "$pool: the last check" $?
done
[ $bad = 0 ] && echo "all good"
exit $bad
