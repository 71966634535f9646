# Guest script for a system with the real OpenZFS module and this `zstream` on its PATH: the kernel receives what
# `recompress`, `decompress` and `redup` made, and the files are those of the manifests.
#   /in/streams, /in/manifest   the golden data, unpacked
#   /in/dedup                   golden streams, dedup'd (cargo run -p zstream-tests --example dedup)
# Prints a line for each case and leaves them in /out/results; exit 0 only if all are good.
set -u
S=/in/streams; M=/in/manifest; bad=0; n=0; mkdir -p /out /mnt/snap
truncate -s 900M /tmp/rx.img
zpool create -O mountpoint=none rx /tmp/rx.img || exit 1

verdict() { # verdict WORDS RC
  if [ "$2" = 0 ]; then echo "ok   $1"; else echo "FAIL $1"; bad=1; fi | tee -a /out/results
  [ "$2" = 0 ] || bad=1
}
list() { # list SNAPSHOT: as the manifests were made
  mount -t zfs -o ro "$1" /mnt/snap || return 1
  (cd /mnt/snap && find . -printf '%p|%y|%m|%U:%G|%s|%T@|%n|%l\n' | sort; echo '# sha256'; find . -type f -print0 | sort -z | xargs -0 sha256sum
   echo '# xattrs'; getfattr -R -h -d -m - . 2>/dev/null) > /tmp/list; umount /mnt/snap
}
same() { list "$1" && cmp /tmp/list "$M/$2.txt"; } # same SNAPSHOT MANIFEST
edited() { # edited HOW STREAM: the stream as HOW changes it
  case $1 in
    decompress-*) # every block that the stream holds compressed
      zstream decompress $(zstream dump -v "$2" | awk -v t="${1#decompress-}" '/^WRITE / && $15 != 0 { print $4 "," $21 "," t }') < "$2" ;;
    *) zstream recompress "$1" < "$2" ;;
  esac
}
full() { # full HOW STREAM SNAPSHOT MANIFEST
  n=$((n + 1)); edited "$1" "$S/$2.zfs" > /tmp/made; rc=$?
  [ $rc = 0 ] && zfs receive -u rx/$n < /tmp/made && same "rx/$n@$3" "$4"; verdict "$2 $1" $?
  [ $n = 1 ] || zfs destroy -r rx/$n
}
for how in lz4 zstd gzip-6 gzip-9 lzjb zle off; do full $how fs-full a tank_fs_a; done
for how in zstd off; do full $how fs-full-Lec a tank_fs_a; done
for how in lz4 zstd off; do full $how rs1m-Lec s tank_rs1m_s; done
for how in gzip-1 off; do full $how dn-Lec s tank_dn_s; full $how rs512-Lec s tank_rs512_s; done
for c in lzjb gzip-9 zle zstd-3 zstd-fast-10; do full lz4 c-$c-c s tank_c-${c}_s; full off c-$c-c s tank_c-${c}_s; done
full zstd e-aes-256-gcm-plain s tank_e-aes-256-gcm_s
full decompress-lzjb c-lzjb-c s tank_c-lzjb_s; full decompress-gzip c-gzip-9-c s tank_c-gzip-9_s; full decompress-zstd c-zstd-3-c s tank_c-zstd-3_s

# increments, the full stream under them being one that was recompressed
zstream recompress zstd < $S/fs-incr-ec.zfs | zfs receive -u rx/1 && same rx/1@b tank_fs_b; verdict "fs-incr-ec zstd" $?
zfs destroy -r rx/1; zfs receive -u rx/1 < $S/fs-full.zfs
zstream recompress lz4 < $S/clone-incr.zfs | zfs receive -u -o origin=rx/1@a rx/clone && same rx/clone@x tank_clone_x; verdict "clone-incr lz4" $?
zstream recompress lz4 < $S/fs-package-I.zfs | zfs receive -u rx/1 && same rx/1@b tank_fs_b && same rx/1@c tank_fs_c; verdict "fs-package-I lz4" $?
zfs destroy -R rx/1; zfs receive -u rx/1 < $S/fs-full.zfs
zstream redup /in/dedup/fs-package-I.zfs | zfs receive -u rx/1 && same rx/1@b tank_fs_b && same rx/1@c tank_fs_c; verdict "fs-package-I redup" $?
for c in rs1m:tank_rs1m_s c-off-c:tank_c-off_s; do
  zfs receive -u rx/dedup < /in/dedup/${c%:*}.zfs 2>/dev/null; [ $? != 0 ]; verdict "${c%:*} dedup'd is refused" $?
  zstream redup /in/dedup/${c%:*}.zfs | zfs receive -u rx/dedup && same rx/dedup@s ${c#*:}; verdict "${c%:*} redup" $?; zfs destroy -r rx/dedup
done
for how in zstd gzip-1; do
  zstream recompress $how < $S/tree-R.zfs | zfs receive -u rx/tree && same rx/tree@2 tank_tree_2 && same rx/tree/child@2 tank_tree_child_2; verdict "tree-R $how" $?; zfs destroy -r rx/tree
done
zstream recompress gzip-2 < $S/fs-redacted.zfs | zfs receive -u rx/redacted; verdict "fs-redacted gzip-2 is received" $?
zstream recompress lz4 < $S/vol.zfs | zfs receive -u rx/vol && zstream recompress zstd < $S/vol-incr.zfs | zfs receive -u rx/vol; verdict "vol lz4, then vol-incr zstd" $?
zfs receive -u rx/vol2 < $S/vol.zfs && zfs receive -u rx/vol2 < $S/vol-incr.zfs && zfs set snapdev=visible rx/vol rx/vol2; sleep 3
zfs list -H -o name,used,refer -t volume >> /out/results
# both volumes, sent again, hold the same blocks
[ "$(zfs send rx/vol@t | zstream recompress off | zstream dump -d | grep -v -e toname -e checksum | sha256sum)" = "$(zfs send rx/vol2@t | zstream recompress off | zstream dump -d | grep -v -e toname -e checksum | sha256sum)" ]; verdict "vol: sent again, the same" $?
zpool scrub -w rx; zpool status rx | tee /tmp/status | tail -3; grep -q 'No known data errors' /tmp/status; verdict "scrub finds nothing" $?
exit $bad
