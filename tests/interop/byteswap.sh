#!/usr/bin/env bash
# Streams turned into the other byte order by `zstream byteswap`, received by the real `zfs receive`: the files are
# those of the golden manifests.
#
#   byteswap.sh prepare STREAMS MANIFESTS DIR   swaps the golden streams into DIR
#   byteswap.sh guest DIR                       where OpenZFS's module is loaded, as root: receives and compares (needs getfattr)
#
# `zstream` is taken from PATH or from $ZSTREAM. The guest needs 1 GiB in /tmp.
set -uo pipefail
zstream=${ZSTREAM:-zstream}

prepare() {
  local streams=$1 manifests=$2 dir=$3 file
  mkdir -p "$dir"; cp "$manifests"/*.txt "$dir/"
  for file in vol vol-incr fs-redacted fs-redacted-two fs-unredact fs-from-redbook; do
    cp "$streams/$file.zfs" "$dir/as-sent-$file.zfs"
  done
  for file in "$streams"/*.zfs; do
    case $file in *-saved.zfs) continue;; esac
    "$zstream" byteswap -v "$file" > "$dir/$(basename "$file")" || return 1
    "$zstream" verify "$dir/$(basename "$file")" || return 1
  done
}

bad=0
say() { echo "$*"; case $1 in BAD*) bad=$((bad + 1));; esac }

# list SNAPSHOT: as the golden manifests were made
list() {
  mkdir -p /mnt/snap; mount -t zfs -o ro "$1" /mnt/snap || return
  (cd /mnt/snap && find . -printf '%p|%y|%m|%U:%G|%s|%T@|%n|%l\n' | sort; echo '# sha256'
   find . -type f -print0 | sort -z | xargs -0 sha256sum; echo '# xattrs'; getfattr -R -h -d -m - . 2>/dev/null)
  umount /mnt/snap
}

# take DATASET STREAM...: receives one after the other
take() {
  local dataset=$1 stream; shift
  for stream; do
    zfs receive -u -F "$dataset" < "$dir/$stream.zfs" 2> /tmp/err || { say "BAD $dataset: $stream: $(tail -1 /tmp/err)"; return 1; }
  done
}

# same SNAPSHOT MANIFEST
same() {
  (cd /; list "$1") > /tmp/list 2>&1
  if cmp -s /tmp/list "$dir/$2.txt"; then say "good $1 = $2"; else say "BAD $1 is not $2:"; diff /tmp/list "$dir/$2.txt" | head -5; fi
}

# alike SNAPSHOT SNAPSHOT
alike() {
  (cd /; list "$1") > /tmp/list 2>&1; (cd /; list "$2") > /tmp/list2 2>&1
  if [ -s /tmp/list ] && cmp -s /tmp/list /tmp/list2; then say "good $1 = $2"; else say "BAD $1 is not $2:"; diff /tmp/list /tmp/list2 | head -5; fi
}

guest() {
  dir=$1; local pool=/tmp/byteswap.img name key
  truncate -s 900M $pool
  zpool create -O compression=lz4 -O mountpoint=none p $pool || exit 1
  take p/fs fs-full && same p/fs@a tank_fs_a
  take p/clone clone-incr && same p/clone@x tank_clone_x
  take p/fs fs-incr && same p/fs@b tank_fs_b
  take p/pkg fs-full-p fs-package-I && same p/pkg@b tank_fs_b && same p/pkg@c tank_fs_c
  take p/c fs-full-c fs-incr-ec && same p/c@a tank_fs_a && same p/c@b tank_fs_b
  take p/e fs-full-e fs-incr-ac && same p/e@a tank_fs_a && same p/e@c tank_fs_c
  take p/lec fs-full-Lec fs-incr-book && same p/lec@a tank_fs_a && same p/lec@b tank_fs_b
  for name in rs512 rs4k rs1m dn; do
    take p/$name $name && same p/$name@s tank_${name}_s
    take p/$name-Lec $name-Lec && same p/$name-Lec@s tank_${name}_s
  done
  for name in off lzjb gzip-9 zle zstd-3 zstd-fast-10; do take p/c-$name c-$name-c && same p/c-$name@s tank_c-${name}_s; done
  for name in blake3 edonr fletcher2 sha256 skein; do take p/k-$name k-$name && say "good p/k-$name"; done
  for name in mirror raidz1 raidz2 raidz3; do take p/p$name p$name && same p/p$name@s p${name}_s; done
  take p/head fs-head && say "good p/head"
  take p/tree tree-R && same p/tree@2 tank_tree_2 && same p/tree/child@2 tank_tree_child_2
  take p/tree2 tree-R-h tree-R-incr && same p/tree2@2 tank_tree_2 && same p/tree2/child@2 tank_tree_child_2
  key=/tmp/key; printf 'correct horse' > $key
  take p/plain-gcm e-aes-256-gcm-plain && same p/plain-gcm@s tank_e-aes-256-gcm_s
  take p/plain-ccm e-aes-128-ccm-plain && say "good p/plain-ccm"
  take p/gcm e-aes-256-gcm-raw e-aes-256-gcm-raw-incr && zfs load-key -L file://$key p/gcm && same p/gcm@s tank_e-aes-256-gcm_s && same p/gcm@t tank_e-aes-256-gcm_t
  take p/ccm e-aes-128-ccm-raw e-aes-128-ccm-raw-incr && zfs load-key -L file://$key p/ccm && same p/ccm@t tank_e-aes-128-ccm_t
  head -c 300000 "$dir/fs-full.zfs" | zfs receive -u -s p/resumed 2> /dev/null
  take p/resumed fs-full-resumed && same p/resumed@a tank_fs_a
  head -c 300000 "$dir/fs-full-Lec.zfs" | zfs receive -u -s p/resumed2 2> /dev/null
  take p/resumed2 fs-full-Lec-resumed && same p/resumed2@a tank_fs_a
  # Redacted blocks cannot be read, and an increment from a redaction bookmark leaves out the last one of a file
  # (issue 18477): what the streams give as they were sent is the measure. What a redaction left out comes as an
  # increment to a clone of the redacted snapshot.
  for name in '' as-sent-; do
    take p/${name}redacted ${name}fs-redacted
    zfs receive -u p/${name}redacted < "$dir/${name}fs-from-redbook.zfs" || say "BAD ${name}fs-from-redbook"
    take p/${name}redacted2 ${name}fs-redacted-two
    zfs receive -u -o origin=p/${name}redacted2@a p/${name}unredacted < "$dir/${name}fs-unredact.zfs" || say "BAD ${name}fs-unredact"
  done
  alike p/redacted@b p/as-sent-redacted@b; alike p/unredacted@a p/as-sent-unredacted@a
  take p/vol vol vol-incr && take p/vol-as-sent as-sent-vol as-sent-vol-incr && sleep 2
  if [ "$(ls /dev/zd[0-9]* | wc -l)" = 2 ] && [ "$(sha256sum /dev/zd[0-9]* | cut -d' ' -f1 | uniq | wc -l)" = 1 ]
  then say "good p/vol = p/vol-as-sent"; else say "BAD p/vol: $(sha256sum /dev/zd[0-9]*)"; fi
  zpool scrub -w p; zpool status p | grep -E 'scan|errors'
  zpool destroy p; rm -f $pool
  echo "bad: $bad"; [ $bad = 0 ]
}

"$@"
