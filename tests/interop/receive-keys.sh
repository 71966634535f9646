#!/usr/bin/env bash
# Encrypted datasets that `zstream recv` makes, in the hands of the kernel module: keys loaded, files compared with what the
# real `zfs receive` makes of the same streams, raw increments received onto them; raw receives that one of the two began
# and the other ends; damaged blocks that `zstream recv -c` corrects. And when a receive activates a feature.
#
#   receive-keys.sh GOLDEN      as root, in a system with the module; GOLDEN has the golden streams and tank.img (/in)
set -u
in=${1:-/in}; bad=0
verdict() { if [ "$2" = 0 ]; then echo "good: $1"; else echo "BAD:  $1"; bad=1; fi; }
work=$(mktemp -d); cd "$work" || exit 2
mkdir ours src mnt; cp "$in/tank.img" src/; printf 'correct horse' > key
new="-o keyformat=passphrase -o pbkdf2iters=100000"
z() { zstream -d ours --key-file key "$@" 2> err || { local code=$?; tail -n 1 err; return $code; }; }

truncate -s 300M theirs.img; zpool create -o cachefile=none -O mountpoint=none theirs "$PWD/theirs.img"
for name in rs4k-Lec fs-full-Lec rs1m-Lec; do
  zfs receive -u theirs/$name < "$in/$name.zfs"; echo "large_blocks after $name: $(zpool get -H -o value feature@large_blocks theirs)"
done
for name in fs-full fs-incr; do zfs receive -u theirs/fs < "$in/$name.zfs"; done
zfs receive -u theirs/own < "$in/rs512.zfs"; zfs receive -u theirs/tree < "$in/tree-R.zfs"
for name in e-aes-256-gcm-raw e-aes-256-gcm-raw-incr; do zfs receive -u theirs/raw < "$in/$name.zfs"; done

zstream pool create --size 300M ours ours/ours.img; verdict "create" $?
z create -o encryption=aes-256-gcm $new ours/e; verdict "an encrypted filesystem" $?
receive() { z recv "${@:2}" < "$in/$1.zfs"; verdict "recv ${*:2} < $1" $?; }
receive fs-full ours/e/fs; receive fs-incr ours/e/fs; receive tree-R -x encryption ours/e/tree; receive vol ours/e/vol
receive rs512 -o encryption=aes-128-ccm $new ours/own
receive e-aes-256-gcm-raw ours/raw; receive e-aes-256-gcm-raw-incr ours/raw; receive e-aes-256-gcm-raw ours/raw2

# Below an encrypted filesystem of each: what is encrypted is decided by the options and by whether properties come along.
zfs create -o encryption=aes-256-gcm $new -o keylocation="file://$PWD/key" theirs/e
below() { # below NAME STREAM OPTIONS
  local name=$1 stream=$in/$2.zfs theirs ours; shift 2
  zfs receive -u "${@//POOL/theirs}" theirs/e/$name < "$stream" 2> /dev/null; theirs=$?
  z recv "${@//POOL/ours}" ours/e/$name < "$stream" > /dev/null; ours=$?
  [ $theirs = $ours ]; verdict "recv $* POOL/e/$name < $(basename "$stream"): $theirs" $?
}
below p fs-full-p; below tree1 tree-R; below tree2 tree-R -x encryption; below tree3 tree-R -o encryption=aes-128-ccm
for n in 1 2 3; do below tree$n tree-R-incr; done
below ccm fs-full-p -o encryption=aes-128-ccm; below off fs-full-p -o encryption=off; below plain fs-full -o encryption=off; below on fs-full-p -o encryption=on
below like fs-full -o encryption=aes-256-gcm; below base fs-full; below clone clone-incr -o origin=POOL/e/base@a; below embedded fs-full-e
roots() { zfs get -r -t filesystem,volume -H -o name,property,value encryption,encryptionroot,keystatus "$1/e" | sed "s/$1/POOL/g" | grep -vE '/(fs|tree|vol)(/|\s)'; }
roots theirs > roots.theirs

# Every second block of the raw dataset, of those that zdb finds; its dnodes are in no WRITE record.
zdb -e -p ours -ddddd ours/raw@t 2> /dev/null | grep ' F=1 ' | grep -oE ' L0 0:[0-9a-f]+' | cut -d : -f 2 | sort -u > blocks
zdb -e -p ours -ddddd ours/raw@s 2> /dev/null | grep ' F=1 ' | grep -oE ' L0 0:[0-9a-f]+' | cut -d : -f 2 | sort -u >> blocks
sort -u blocks | awk 'NR % 2' > half; damaged=$(wc -l < half); [ "$damaged" -gt 0 ]; verdict "$damaged blocks to damage" $?
while read -r block; do
  dd if=/dev/zero of=ours/ours.img bs=512 seek=$(((0x$block + 0x400000) / 512)) count=1 conv=notrunc 2> /dev/null
done < half
zstream -d ours pool check > check 2>&1; [ $? = 1 ]; verdict "pool check finds damage" $?
z recv -c -v ours/raw@s < "$in/e-aes-256-gcm-raw.zfs" | grep corrected
z recv -c -v ours/raw@t < "$in/e-aes-256-gcm-raw-incr.zfs" | grep corrected
zstream -d ours pool check > check 2>&1; verdict "recv -c has corrected all of it" $?

raw=$in/e-aes-256-gcm-raw.zfs; part=$(($(stat -c %s "$raw") * 2 / 3))
head -c $part "$raw" | z recv -s ours/part1@s; [ $? = 1 ]; verdict "cut off" $?
zpool import -d ours -o cachefile=none -R "$PWD/mnt" ours; verdict "import" $?
zpool import -d src -o cachefile=none -R "$PWD/mnt" -o readonly=on tank; verdict "import of the sender" $?
zfs receive -u ours/raw2 < "$in/e-aes-256-gcm-raw-incr.zfs"; verdict "zfs receives a raw increment onto ours" $?
zfs send -t "$(zfs get -H -o value receive_resume_token ours/part1)" | zfs receive -u -s ours/part1; verdict "zfs ends what zstream began" $?
head -c $part "$raw" | zfs receive -u -s ours/part2@s 2> /dev/null
token=$(zfs get -H -o value receive_resume_token ours/part2)
zpool export ours; zpool export tank
zstream -d src send -t "$token" 2> /dev/null | z recv -s ours/part2; verdict "zstream ends what zfs began" $?

zpool import -d ours -o cachefile=none -R "$PWD/mnt" ours; verdict "import again" $?
for name in ours/e ours/own ours/raw ours/raw2 ours/part1 ours/part2 theirs/raw; do
  zfs load-key -L "file://$PWD/key" $name; verdict "load-key $name" $?
done
sums() {
  mkdir -p view; mount -t zfs -o ro "$1" view && (cd view && find . -type f | sort | while read -r file; do sha256sum "$file"; done)
  umount view
}
same() {
  local is=1
  sums "$1" > a; sums "$2" > b; [ -s a ] && cmp -s a b && is=0
  verdict "$1 is $2 ($(wc -l < a) files)" $is
}
same ours/e/fs@a theirs/fs@a; same ours/e/fs@b theirs/fs@b; same ours/own@s theirs/own@s
same ours/e/tree/child@1 theirs/tree/child@1
for name in raw@s raw@t raw2@t; do same ours/$name theirs/${name/raw2/raw}; done
same ours/part1@s theirs/raw@s; same ours/part2@s theirs/raw@s
roots ours > roots.ours; [ -s roots.ours ] && cmp roots.theirs roots.ours; verdict "what is encrypted below an encrypted filesystem" $?
roots=$(zfs get -r -t filesystem,volume -H -o value encryptionroot ours/e/fs ours/e/tree ours/e/vol | sort -u); [ "$roots" = ours/e ]; verdict "encryption roots" $?
zpool scrub -w ours; zpool status ours | grep -q 'repaired 0B.*0 errors'; verdict "scrub" $?
zpool export ours; zstream -d ours pool check > check 2>&1; verdict "pool check" $?
exit $bad
