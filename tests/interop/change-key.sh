#!/usr/bin/env bash
# Keys that `zstream change-key` has changed, in the hands of the kernel module, and the other way round; and raw streams of the
# module, with its keys changed in between, that `zstream recv` has received: every key of the pool is loaded, every file read.
#
#   change-key.sh     as root, in a system with the module
set -u
# Nobody is there to be asked.
exec < /dev/null
bad=0
verdict() { if [ "$2" = 0 ]; then echo "good: $1"; else echo "BAD:  $1"; bad=1; fi; }
work=$(mktemp -d); cd "$work" || exit 2
mkdir ours src mnt streams
head -c 32 /dev/urandom > r1; head -c 32 /dev/urandom > r2; head -c 32 /dev/urandom > r3; printf 'correct horse' > p
printf '%064d' 7 > h
for key in r1 r2 r3 p h; do declare "$key=file://$work/$key"; done
z() { zstream -d ours "$@" 2> err || { local code=$?; tail -n 1 err; return $code; }; }
good() { "$@" > out 2>&1; verdict "$*" $?; }
refused() { "$@" > out 2>&1; [ $? = 1 ]; verdict "refused: $*" $?; tail -n 1 out; }
import() { zpool import -d "$1" -o cachefile=none -R "$work/mnt" "$1"; verdict "import $1" $?; }
# Every key is where its root says; every file system is mounted read-only and read.
all_open() {
  local name
  good zfs load-key -a
  zfs list -H -o name,encryptionroot,keystatus,keyformat -r "$1" > listed; ! grep -q unavailable listed; verdict "every key of $1 is loaded" $?
  for name in $(zfs list -H -t filesystem -o name -r "$1"); do
    [ "$name" = "$1" ] && continue
    mkdir -p view; mount -t zfs -o ro "$name" view && cat view/f > content; verdict "read $name: $(cat content)" $?; umount view
  done
}

raw="-o encryption=aes-256-gcm -o keyformat=raw"
zstream pool create --size 200M ours ours/ours.img; verdict create $?
z create $raw -o keylocation=$r1 ours/e; echo file > f
z --key-file r1 create ours/e/c; z --key-file r1 create ours/e/c/d; z create $raw -o keylocation=$r2 ours/e/own
for name in e e/c e/c/d; do z --key-file r1 put f ours/$name:/; done; z --key-file r2 put f ours/e/own:/
z snapshot -r ours/e@1; z clone ours/e/c@1 ours/clone; z --key-file r1 create ours/clone/k; z --key-file r1 put f ours/clone/k:/
good z --key-file r1 change-key -o keyformat=passphrase -o pbkdf2iters=100000 -o keylocation=$p ours/e
good z --key-file p change-key -o keyformat=hex -o keylocation=$h ours/e/c
good z --key-file r2 change-key -l -i ours/e/own
good z load-key -n -a
import ours; all_open ours
roots=$(zfs list -H -o name,encryptionroot -r ours | tr '\t\n' '= '); echo "$roots"
[ "$roots" = "ours=- ours/clone=ours/e/c ours/clone/k=ours/e/c ours/e=ours/e ours/e/c=ours/e/c ours/e/c/d=ours/e/c ours/e/own=ours/e " ]; verdict "encryption roots" $?
good zfs change-key -o keylocation=$r3 -o keyformat=raw ours/e
good zfs change-key -i ours/e/c
good zfs change-key -o keylocation=$r2 -o keyformat=raw ours/e/c/d
zpool scrub -w ours; zpool status ours | grep -q 'repaired 0B.*0 errors'; verdict "scrub" $?
zpool export ours
good z load-key -n -a
for name in e e/c e/own clone clone/k; do [ "$(z --key-file r3 cat ours/$name f)" = file ]; verdict "cat ours/$name" $?; done
[ "$(z --key-file r2 cat ours/e/c/d f)" = file ]; verdict "cat ours/e/c/d" $?
good z --key-file r2 change-key -l -i ours/e/c/d

# The module sends; in between its keys change.
truncate -s 200M src/src.img; zpool create -o cachefile=none -O mountpoint=none src "$work/src/src.img"
zfs create $raw -o keylocation=$r1 src/e; zfs create src/e/c; zfs create src/e/c/d; zfs create -o keyformat=raw -o keylocation=$r2 src/e/own
write() { local name; for name in e e/c e/c/d e/own; do mkdir -p view; mount -t zfs src/$name view && echo "$1" > view/f; umount view; done; }
write one; zfs snapshot -r src/e@1; zfs send -w -R src/e@1 > streams/R1; zfs send -w -R src/e/c@1 > streams/C1
write two; zfs change-key -o keylocation=$h -o keyformat=hex src/e; zfs change-key -i src/e/own; zfs change-key -o keylocation=$r3 -o keyformat=raw src/e/c/d; zfs snapshot -r src/e@2
zfs send -w -R -i @1 src/e@2 > streams/R2; for name in e e/c e/c/d; do zfs send -w -i @1 src/$name@2 > "streams/$(basename $name)2"; done
zpool export src
good z recv ours/e/C < streams/C1; good z recv -o keylocation=$r1 ours/e/C2 < streams/C1
good z recv ours/R < streams/R1; good z recv ours/S < streams/R1; z set keylocation=$r1 ours/e/C; good z load-key -n -a
refused z recv ours/S/c < streams/c2; refused z recv ours/S/c/d < streams/d2
good z recv ours/R < streams/R2; good z load-key -n ours/R
good z recv ours/S < streams/e2; good z recv ours/S/c < streams/c2; good z recv ours/S/c/d < streams/d2
z list -o name,encryptionroot,keylocation,keyformat -r ours
for pair in ours/S=h ours/S/c=h ours/S/c/d=r3; do z set "keylocation=file://$work/${pair#*=}" "${pair%=*}"; done
good z load-key -n -a
import ours; all_open ours
for name in R R/c R/c/d R/own S S/c S/c/d; do mkdir -p view; mount -t zfs -o ro ours/$name view; [ "$(cat view/f)" = two ]; verdict "ours/$name is new" $?; umount view; done
roots=$(zfs list -H -o encryptionroot -r ours/R | tr '\n' ' '); echo "$roots"; [ "$roots" = "ours/R ours/R ours/R/c/d ours/R " ]; verdict "encryption roots of the package" $?
zpool scrub -w ours; zpool status ours | grep -q 'repaired 0B.*0 errors'; verdict "scrub" $?
zpool export ours; zstream -d ours pool check > check 2>&1; verdict "pool check" $?
exit $bad
