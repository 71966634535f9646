#!/bin/bash
# A pool with cloned blocks that goes back and forth between zstream and the kernel module, three times: each counts the
# references that the other made and dropped, a scrub repairs nothing, and the last clone takes the tables with it.
#
#   cloned.sh guest [KIND...]    in a system with the module, as root; zstream is the program to be tested. The kinds of pool
#                                are plain, mirror and secret; without any it is those named in /in/parts, or all
set -u
[ "${1:-guest}" = guest ] || { sed -n 2,7p "$0"; exit 2; }
kinds=${*:2}; [ -n "$kinds" ] || kinds=$(cat /in/parts 2>/dev/null || echo plain mirror secret)
bad=0
verdict() { if [ "$2" = 0 ]; then echo "good: $1"; else echo "BAD:  $1"; bad=1; fi; }
work=$(mktemp -d); cd "$work" || exit 2
echo "correct horse" | tr -d '\n' > key
echo 1 > /sys/module/zfs/parameters/zfs_bclone_enabled 2>/dev/null
features="-o feature@block_cloning=enabled"; zpool upgrade -v | grep -q block_cloning_endian && features="$features -o feature@block_cloning_endian=enabled"
same() { cmp -s "$1" "$2"; verdict "$3" $?; }

for kind in $kinds; do
  pool=c$kind options="" vdev="$pool/1.img $pool/2.img" dir=/mnt/$pool; mkdir "$pool"
  [ "$kind" = mirror ] && vdev="mirror $vdev"
  [ "$kind" = secret ] && options="-O encryption=on -O keyformat=passphrase -O keylocation=prompt"
  # shellcheck disable=SC2086
  zstream --key-file key pool create --size 128M $features $options -O recordsize=16k -O compression=off "$pool" $vdev; verdict "$pool: create" $?
  zs() { zstream -d "$pool" --key-file key "$@"; }
  counts() { for p in bcloneused bclonesaved bcloneratio; do echo "$p $("$@" get -Hpo value $p "$pool")"; done; }
  zs create "$pool/a" && zs create "$pool/b"; verdict "$pool: datasets" $?
  head -c 700001 /dev/urandom > source; zs put source "$pool/a:/"; verdict "$pool: put" $?
  for n in 1 2 3; do
    # Our turn: clones within and between datasets and from a snapshot; some are overwritten.
    zs cp --reflink=always "$pool/a:/source" "$pool/a:/own$n"; verdict "$pool: clone $n" $?
    zs cp "$pool/a:/source" "$pool/b:/other$n" 2> word; verdict "$pool: clone between datasets $n" $?
    zs snapshot -r "$pool@ours$n"; verdict "$pool: snapshot $n" $?
    zs cp --reflink=always "$pool/a@ours1:/source" "$pool/a:/back$n"; verdict "$pool: clone from a snapshot $n" $?
    if [ "$n" -gt 1 ]; then
      head -c 300000 /dev/urandom > changed; zs put changed "$pool/a:/theirs$((n - 1))"; verdict "$pool: overwrite a clone of the module $n" $?
      zs destroy "$pool@ours$((n - 1))"; zs destroy "$pool/a@theirs$((n - 1))"; verdict "$pool: destroy snapshots $n" $?
    fi
    zs pool check > check 2>&1; verdict "$pool: check before $n" $?; counts zs pool > ours
    # The module's.
    zpool import -d "$pool" -R /mnt -N "$pool"; verdict "$pool: import $n" $?
    if [ "$kind" = secret ]; then zfs load-key -L "file://$work/key" "$pool"; verdict "$pool: key $n" $?; fi
    zfs mount -a; verdict "$pool: mount $n" $?
    counts zpool > theirs; same ours theirs "$pool: counts of clones $n"; diff ours theirs | head -6
    for file in a/own$n b/other$n a/back$n; do same source "$dir/$file" "$pool: $file"; done
    cp --reflink=always "$dir/a/own$n" "$dir/a/theirs$n"; verdict "$pool: clone of the module $n" $?
    cp --reflink=always "$dir/a/source" "$dir/a/new$n"; cp --sparse=never "$dir/b/other$n" "$dir/a/across$n"; verdict "$pool: clones of the module $n" $?
    zpool sync "$pool"; zfs snapshot "$pool/a@theirs$n"; echo changed | dd of="$dir/a/new$n" bs=16k seek=3 conv=notrunc 2>/dev/null; rm "$dir/a/back$n"
    zpool sync "$pool"; zpool scrub -w "$pool"; zpool status "$pool" > status; grep -q 'No known data errors' status && grep -q 'repaired 0B.*0 errors' status; verdict "$pool: scrub $n" $?
    cp "$dir/a/theirs$n" kept; same source kept "$pool: what the module cloned $n"
    counts zpool > theirs; zpool export "$pool"; verdict "$pool: export $n" $?
    zs pool check > check 2>&1; verdict "$pool: check after $n" $?; [ -s check ] && grep -v checked check | head -3
    counts zs pool > ours; same theirs ours "$pool: counts after $n"; diff theirs ours | head -6
    zdb -e -p "$pool" -bcc "$pool" > zdb 2>&1; grep -q 'No leaks' zdb; verdict "$pool: zdb $n" $?
  done
  # All of it is freed: by the module, and the features with it.
  zpool import -d "$pool" -R /mnt -N "$pool"; zfs destroy -r "$pool/b"; verdict "$pool: the module destroys half" $?; zpool sync "$pool"; zpool wait -t free "$pool"; zpool export "$pool"
  zs pool check > check 2>&1; verdict "$pool: check of what is left" $?
  if [ "$kind" = plain ]; then
    zs destroy -r "$pool/a"; verdict "$pool: zstream destroys the rest" $?
    zpool import -d "$pool" -R /mnt -N "$pool"
  else
    zpool import -d "$pool" -R /mnt -N "$pool"; zfs destroy -r "$pool/a"; verdict "$pool: the module destroys the rest" $?; zpool sync "$pool"; zpool wait -t free "$pool"
  fi
  [ "$(zpool get -Ho value feature@block_cloning "$pool") $(zpool get -Hpo value bclonesaved "$pool")" = "enabled 0" ]; verdict "$pool: no clone is left" $?
  zpool export "$pool"; zs pool check > check 2>&1; verdict "$pool: the last check" $?
done
[ $bad = 0 ] && echo "all good"
exit $bad
