#!/usr/bin/env bash
# `zstream send` against the kernel module.
#
#   send.sh receive GOLDEN PART.. the real `zfs receive` takes streams of every kind, made of the golden pools by `zstream send`;
#                                 the files are those of the manifests. GOLDEN holds the unpacked images and manifests;
#                                 the parts are `forms` and `kinds`
#   send.sh histories OUT SEED... makes a pool with a random history for each seed, and holds every kind of `zstream send`
#                                 against `zfs send` of it, byte for byte; leaves the pools in OUT, for `zdb -B`
#   send.sh guest IN OUT          the first where IN is GOLDEN and has a file `parts`, the second where IN has a file `seeds`;
#                                 `send.sh` alone is `guest /in /out`
#
# Runs as root where OpenZFS's module is loaded; needs getfattr and setfattr (Debian: attr), and 1.5 GiB in /tmp.
# `zstream` is taken from PATH or from $ZSTREAM. The last line of a good run is `bad: 0`.
set -uo pipefail
zstream=${ZSTREAM:-zstream}
bad=0
say() { echo "$*"; case $1 in BAD*) bad=$((bad + 1));; esac; }
printf 'correct horse' > /tmp/key
E="-o encryption=aes-256-gcm -o keyformat=passphrase -o keylocation=file:///tmp/key"

# ---- receive

# list SNAPSHOT: as the golden manifests were made
list() {
  mkdir -p /mnt/snap; mount -t zfs -o ro "$1" /mnt/snap || return
  (cd /mnt/snap && find . -printf '%p|%y|%m|%U:%G|%s|%T@|%n|%l\n' | sort; echo '# sha256'
   find . -type f -print0 | sort -z | xargs -0 sha256sum; echo '# xattrs'; getfattr -R -h -d -m - . 2>/dev/null)
  umount /mnt/snap
}

# same SNAPSHOT MANIFEST
same() {
  (cd /; list "$1") > /tmp/list 2>&1
  if cmp -s /tmp/list "$golden/$2.txt"; then say "good $1 = $2"; else say "BAD $1 is not $2:"; diff /tmp/list "$golden/$2.txt" | head -5; fi
}

# take DATASET SEND-ARGS...: what `zstream send` gives is received
take() {
  local dataset=$1; shift
  "$zstream" -d "$image" --key-file /tmp/key send "$@" 2> /tmp/err.send | zfs receive -u -F $options "$dataset" 2> /tmp/err ||
    { say "BAD $dataset: send $*: $(tail -qn1 /tmp/err.send /tmp/err)"; return 1; }
}

# device DATASET VOLUME: a volume equals the one in the golden pool
device() {
  local theirs ours; sleep 2
  theirs=$("$zstream" -d "$image" cat "$2" | sha256sum); ours=$(sha256sum < $(ls /dev/zd[0-9]* | grep -v p | tail -1))
  if [ "$theirs" = "$ours" ]; then say "good $1 = $2"; else say "BAD $1 is not $2"; fi
}

# Every form of one snapshot and of increments.
forms() {
  take p/fs tank/fs@a && same p/fs@a tank_fs_a
  take p/clone -i tank/fs@a tank/clone@x && same p/clone@x tank_clone_x
  take p/fs -i @a tank/fs@b && same p/fs@b tank_fs_b
  take p/fs -i @b tank/fs@c && same p/fs@c tank_fs_c
  take p/pkg -p tank/fs@a && take p/pkg -I @a tank/fs@c && same p/pkg@b tank_fs_b && same p/pkg@c tank_fs_c
  take p/c -c tank/fs@a && take p/c -e -c -i @a tank/fs@b && same p/c@a tank_fs_a && same p/c@b tank_fs_b
  take p/e -e tank/fs@a && take p/e -i @a tank/fs@c && same p/e@a tank_fs_a && same p/e@c tank_fs_c
  take p/lec -L -e -c tank/fs@a && take p/lec -i '#a' tank/fs@b && same p/lec@a tank_fs_a && same p/lec@b tank_fs_b
  take p/w -w tank/fs@a && take p/w -w -i @a tank/fs@b && same p/w@a tank_fs_a && same p/w@b tank_fs_b
  for name in rs512 rs4k rs1m dn; do
    take p/$name tank/$name@s && same p/$name@s tank_${name}_s
    take p/$name-ec -e -c tank/$name@s && same p/$name-ec@s tank_${name}_s
    take p/$name-Lec -L -e -c tank/$name@s && same p/$name-Lec@s tank_${name}_s
  done
  for name in off lzjb gzip-9 zle zstd-3 zstd-fast-10; do take p/c-$name -c tank/c-$name@s && same p/c-$name@s tank_c-${name}_s; done
  for name in blake3 edonr fletcher2 sha256 skein; do take p/k-$name -c tank/k-$name@s && say "good p/k-$name"; done
}

# Packages, encryption, redaction, receives that go on, volumes, other vdevs.
kinds() {
  take p/head tank/c-off && say "good p/head: $(zfs list -H -o name -t snapshot p/head)"
  take p/tree -R tank/tree@2 && same p/tree@2 tank_tree_2 && same p/tree/child@2 tank_tree_child_2
  take p/tree2 -R -h tank/tree@1 && take p/tree2 -R -I @1 tank/tree@2 && same p/tree2@2 tank_tree_2 && same p/tree2/child@2 tank_tree_child_2
  [ "$(zfs get -H -o value org.example:note p/tree2) $(zfs holds -H p/tree2@1 | cut -f2)" = "hi keep" ] && say "good properties and holds" || say "BAD properties or holds"
  take p/plain tank/e-aes-256-gcm@s && same p/plain@s tank_e-aes-256-gcm_s
  options="$E"; take p/again -c tank/e-aes-256-gcm@s && same p/again@s tank_e-aes-256-gcm_s; options=
  for name in aes-256-gcm aes-128-ccm; do
    take p/$name -w tank/e-$name@s && take p/$name -w -i @s tank/e-$name@t &&
      zfs load-key -L file:///tmp/key p/$name && same p/$name@t tank_e-${name}_t
  done
  # An interrupted receive goes on with what its token says; one that was saved by its sender is such a receive again.
  for name in fs-full: fs-full-Lec:-Lec; do
    "$zstream" -d "$image" send ${name#*:} tank/fs@a | head -c 300000 | zfs receive -u -s p/resumed-${name%:*} 2> /dev/null
    take p/resumed-${name%:*} -t $(zfs get -H -o value receive_resume_token p/resumed-${name%:*}) && same p/resumed-${name%:*}@a tank_fs_a
    "$zstream" -d "$image" send -S tank/rx/${name%:*} | zfs receive -u -s p/saved-${name%:*} 2> /dev/null
    take p/saved-${name%:*} -t $(zfs get -H -o value receive_resume_token p/saved-${name%:*}) && same p/saved-${name%:*}@a tank_fs_a
  done
  # What a redaction left out comes with an increment from its bookmark, or as a clone of the redacted snapshot.
  take p/redacted --redact red tank/fs@a && take p/redacted -i '#red' tank/fs@b && same p/redacted@b tank_fs_b
  take p/redacted2 --redact redtwo -c tank/fs@a
  options="-o origin=p/redacted2@a"; take p/unredacted -i '#redtwo' tank/fs@a && same p/unredacted@a tank_fs_a; options=
  take p/vol tank/vol@s && device p/vol tank/vol@s; take p/vol -c -i @s tank/vol@t && device p/vol tank/vol@t
  for name in mirror raidz1 raidz2 raidz3; do
    [ -e "$golden/$name-3.img" ] || { say "without p$name, which is not in $golden"; continue; }
    rm -rf /tmp/members; mkdir /tmp/members; ln -s "$golden"/$name-*.img /tmp/members/; image=/tmp/members
    take p/p$name p$name@s && same p/p$name@s p${name}_s
  done
}

receive() {
  local golden=$1 image pool=/tmp/receive.img name options part; shift
  for part; do
    image=$golden/tank.img; options=
    truncate -s 1200M $pool; zpool create -O mountpoint=none p $pool || exit 1
    $part
    zpool scrub -w p; zpool status p | grep -q 'errors: No known data errors' && say "good scrub" || say "BAD scrub"
    zpool destroy p; rm -f $pool
  done
}

# ---- histories

pick() { local n=$((RANDOM % $#)); shift $n; echo "$1"; }
random() { head -c $1 /dev/urandom; }
text() { seq -f 'line %g of a text that repeats itself, as most do' 1 $1; }

# One change of the files here.
change() {
  local f=f$((RANDOM % 15)) i
  case $((RANDOM % 16)) in
    0|1) random $((RANDOM * 12 + 1)) > $f;;
    2|3) text $((RANDOM % 4000 + 1)) > $f;;
    4) random $((RANDOM % 9000 + 1)) | dd of=$f bs=512 seek=$((RANDOM % 800)) conv=notrunc 2> /dev/null;;
    5) text $((RANDOM % 200 + 1)) >> $f;;
    6) truncate -s $((RANDOM * 20)) $f;;
    7) rm -f $f;;
    8) mkdir -p d$((RANDOM % 4)); for i in $(seq $((RANDOM % 60 + 1))); do echo $i > d$((RANDOM % 4))/n$i; done 2> /dev/null;;
    9) rm -rf d$((RANDOM % 4));;
    10) echo tiny > t$((RANDOM % 9));;
    11) dd if=/dev/zero of=$f bs=1k seek=$((RANDOM % 300)) count=$((RANDOM % 200)) conv=notrunc 2> /dev/null;;
    12) touch $f; setfattr -n user.x -v "$(random 600 | od -An -tx1 | tr -d ' \n')" $f;;
    13) ln -f $f l$((RANDOM % 3)) 2> /dev/null; ln -sf somewhere/else s$((RANDOM % 3));;
    14) mv $f f$((RANDOM % 15)) 2> /dev/null; chmod 7$((RANDOM % 8))$((RANDOM % 8)) f* 2> /dev/null;;
    15) truncate -s $((RANDOM * 900)) $f; echo end >> $f;;
  esac
}

# changes DATASET: some of them
changes() {
  local n; mkdir -p /mnt/h; mount -t zfs $1 /mnt/h; cd /mnt/h
  for n in $(seq $((RANDOM % 12 + 3))); do change; done; cd /; umount /mnt/h
}

# block DATASET: changes a block in the middle of a file that `keep` made
block() {
  mount -t zfs $1 /mnt/h; random 4096 | dd of=/mnt/h/kept bs=4k seek=$((RANDOM % 60 + 2)) conv=notrunc 2> /dev/null; umount /mnt/h
}

# want ARGS: what `zfs send` gives is the measure
want() {
  n=$((n + 1)); local q; printf -v q ' %q' "$@"; echo "$n$q" >> /tmp/sends/list
  zfs send "$@" > /tmp/sends/$n 2> /tmp/err || { say "BAD zfs send$q: $(tail -1 /tmp/err)"; sed -i '$d' /tmp/sends/list; }
}

# random_pool OUT SEED
random_pool() {
  local out=$1 seed=$2 i j token pool=h$2 image=$1/h$2.img args n=0 good=0 was_bad=$bad
  RANDOM=$seed; rm -rf /tmp/sends; mkdir -p /tmp/sends; truncate -s 160M $image
  zpool create -o ashift=$(pick 9 12) -O mountpoint=legacy -O atime=$(pick on off) -O xattr=$(pick sa on) -O compression=$(pick lz4 on off zstd gzip) \
    -O dnodesize=$(pick legacy auto 1k) -O checksum=$(pick on sha256 blake3) $pool $image || { say "BAD $pool"; return; }
  zfs create -o recordsize=$(pick 4k 16k 128k) $pool/a; zfs create $E -o recordsize=$(pick 8k 128k) $pool/e
  zfs create -o recordsize=1M -o compression=lz4 $pool/a/big; zfs create -V 4M -o volblocksize=$(pick 4k 16k) -s $pool/a/vol
  mkdir -p /mnt/h; mount -t zfs $pool/a /mnt/h; random 400000 > /mnt/h/kept; umount /mnt/h; sleep 1
  for i in 0 1 2 3 4; do
    changes $pool/a; changes $pool/a; changes $pool/e; changes $pool/a/big
    random $((RANDOM % 60000 + 1)) | dd of=$(ls /dev/zd[0-9]* | grep -v p | tail -1) bs=512 seek=$((RANDOM % 7000)) conv=notrunc 2> /dev/null; sync
    [ $i = 3 ] && { changes $pool/a; zfs rollback $pool/a@2; changes $pool/a; }
    zpool sync $pool; zfs snapshot -r $pool@$i; zfs bookmark $pool/a@$i "$pool/a#b$i"; zfs bookmark $pool/e@$i "$pool/e#b$i"
  done
  zfs clone $pool/a@2 $pool/clone; changes $pool/clone; zfs snapshot $pool/clone@x; changes $pool/clone; zfs snapshot $pool/clone@y
  zfs clone $pool/a@1 $pool/secret; block $pool/secret; block $pool/secret; zfs snapshot $pool/secret@s; zfs redact $pool/a@1 red $pool/secret@s
  zfs snapshot $pool/a@gone; changes $pool/a; zfs snapshot $pool/a@last; zfs destroy $pool/a@gone; want -c -i @4 $pool/a@last

  for args in '' -c -e -L -ec -Lec -w; do want $args $pool/a@$(pick 0 2 3 4); want $args -i @0 $pool/a@$(pick 2 3 4); done
  for args in '' -L -Lec -w; do want $args $pool/a/big@$(pick 0 1 2 3 4); want $args -i @1 $pool/a/big@$(pick 2 3 4); done
  for args in '' -c -w; do want $args $pool/e@$(pick 0 1 2 3 4); want $args -i @0 $pool/e@4; want $args -i '#b2' $pool/e@3; done
  for args in '' -c; do want $args $pool/a/vol@$(pick 0 1 2 3 4); want $args -i @0 $pool/a/vol@$(pick 2 3 4); done
  want -i '#b0' $pool/a@2; want -c -i '#b1' $pool/a@3; want -i $pool/a@2 $pool/clone@x; want -c -i $pool/a@0 $pool/clone@y; want -i '#b1' $pool/a@4; want $pool/clone@y
  want -i '#red' $pool/a@2; want -Lec -i '#red' $pool/a@4
  want -I @0 $pool/a@4; want -c -I @2 $pool/a@4; want -p -I @0 $pool/a@3; want -R $pool/a@4; want -R -c -i @3 $pool/a@4; want -R -I @2 $pool/a@4
  want -R -w $pool@4; want -R -w -I @2 $pool@4; want -w -p $pool/e@3; want -b $pool/a@2; want -I $pool/a@2 $pool/clone@y; want $pool/clone; want -i @x $pool/clone; want -w $pool/e
  zfs create $pool/part; i=0
  for args in "$pool/a@2" "-Lec $pool/a/big@4" "-w $pool/e@3" "-i @2 $pool/a@4"; do
    i=$((i + 1))
    [[ $args == -i* ]] && zfs send $pool/a@2 | zfs receive -u $pool/part/$i
    zfs send $args | head -c $((RANDOM * 3 + 8000)) | zfs receive -s -u $pool/part/$i 2> /dev/null
    token=$(zfs get -H -o value receive_resume_token $pool/part/$i 2> /dev/null || echo -)
    # A stream that was short enough was received whole.
    [ "$token" = - ] || { want -t $token; want -S $pool/part/$i; }
  done
  zpool export $pool || { say "BAD export"; return; }

  while read -r i args; do
    eval "set -- $args"
    "$zstream" -d $image --key-file /tmp/key send "$@" > /tmp/ours 2> /tmp/err || say "BAD seed $seed: send $args: $(tail -1 /tmp/err)"
    if cmp -s /tmp/ours /tmp/sends/$i; then good=$((good + 1)); else say "BAD seed $seed: send $args differs: $(cmp /tmp/ours /tmp/sends/$i 2>&1)"; cp /tmp/ours $out/h$seed-$i.ours; cp /tmp/sends/$i $out/h$seed-$i.zfs; fi
  done < /tmp/sends/list
  cp /tmp/sends/list $out/h$seed.list
  if [ $bad = $was_bad ]; then say "good history $seed: $good streams, $(cat /tmp/sends/[0-9]* | wc -c) bytes"; fi
}

histories() { local out=$1 seed; shift; for seed; do random_pool $out $seed; done; }

guest() {
  if [ -e "$1/parts" ]; then receive "$1" $(cat "$1/parts"); fi
  if [ -e "$1/seeds" ]; then histories "$2" $(cat "$1/seeds"); fi
}

[ $# = 0 ] && set -- guest /in /out
"$@"; echo "bad: $bad"; [ $bad = 0 ]
