# Guest script, for a virtual machine with the OpenZFS kernel module: makes the pool `pack`, with everything that packages,
# resumed and saved sends have to tell apart, and records what `zfs send` does with it. Leaves under /out:
#   pack.img        the exported pool
#   sends/N.zfs     standard output of the N-th command, N.err its standard error, N.rc its exit code where not 0
#   sends/N.est     what the same command printed with -nvP on standard output; N.est-rc its exit code where not 0
#   COMMANDS        a line per command: `N: zfs send ARGS`, words quoted as for a shell
#   tokens.txt      a line per partial receive: `DATASET TOKEN`
set -u
S=/out/sends; mkdir -p $S /mnt/x
truncate -s 64M /tmp/pack.img
zpool create -o ashift=9 -O mountpoint=legacy -O atime=off -O xattr=sa -O compression=lz4 pack /tmp/pack.img || exit 1
gen() { seq -f 'line %g of a text that says the same again and again, as logs do' $1 $2; }
put() { mount -t zfs "$1" /mnt/x && (cd /mnt/x && eval "$2"); umount /mnt/x; }

# A tree with snapshots that were renamed, are missing, or came late; a clone whose name comes before its origin's.
zfs create -o org.example:note=top -o quota=32M pack/top
zfs create -o recordsize=16k -o org.example:child=yes pack/top/child
zfs create -o reservation=1M pack/top/child/grand
for n in zeta alpha mid; do zfs create -o org.example:n=$n pack/top/$n; done
zfs create -o sync=disabled -V 1M -o volblocksize=8k pack/top/vol; sleep 1
for d in top top/child top/child/grand top/zeta top/alpha top/mid; do put pack/$d "seq 1 300 > first; seq 1 40 > small; mkdir d; echo $d > d/name"; done
vol() { gen $1 $(($1 + 300)) | dd of=$(ls /dev/zd[0-9]* | head -1) bs=8k seek=$2 conv=notrunc 2>/dev/null; sync; }
vol 1 0; zpool sync pack; zfs snapshot -r pack/top@1
zfs set org.example:snap=one pack/top@1; zfs hold keep pack/top@1; zfs hold -r more pack/top@1
zfs clone -o org.example:clone=yes pack/top/zeta@1 pack/top/aclone
for d in top top/child top/zeta top/mid top/aclone; do put pack/$d "seq 200 500 > second; rm small"; done
vol 5000 4; zpool sync pack; zfs snapshot -r pack/top@2; zfs hold later pack/top/child@2
zfs create pack/top/late; put pack/top/late 'echo late > late'
for d in top top/child/grand top/zeta top/aclone; do put pack/$d "seq 7 77 >> first; echo 3 > third"; done
zpool sync pack; zfs snapshot -r pack/top@3
zfs rename pack/top/mid@2 two; zfs release more pack/top/alpha@1; zfs destroy pack/top/alpha@1
zfs create pack/top/after; zfs snapshot pack/top@4; zfs set org.example:snap=four pack/top@4
for n in 1 2 3; do zfs bookmark pack/top@$n "pack/top#b$n"; done

# Datasets without the snapshot that is sent.
zfs create pack/miss; zfs create pack/miss/has; zfs create pack/miss/lacks; zfs create pack/miss/lacks/below
zfs snapshot pack/miss@s pack/miss/has@s pack/miss/lacks/below@s; zfs create pack/miss/young

# Clones outside of the tree, and one that was promoted.
zfs clone pack/top/child@2 pack/outside; put pack/outside 'echo x > x'; zfs snapshot pack/outside@x
put pack/outside 'echo y > y; rm first'; zfs snapshot pack/outside@y; zfs bookmark pack/outside@x 'pack/outside#bx'
zfs create pack/p; zfs create pack/p/base; put pack/p/base 'seq 1 100 > f'; zfs snapshot pack/p/base@a
put pack/p/base 'seq 1 90 > g'; zfs snapshot pack/p/base@b; zfs clone pack/p/base@b pack/p/clone; zfs promote pack/p/clone
put pack/p/base 'echo base > h'; put pack/p/clone 'echo clone > i'; zfs snapshot -r pack/p@c

# Properties that were received, then set or inherited here.
zfs send -R pack/top/child@2 | zfs receive -u pack/rcv
zfs set recordsize=32k org.example:local=1 pack/rcv; zfs inherit org.example:child pack/rcv
zfs inherit reservation pack/rcv/grand; zfs set readonly=on pack/rcv; zfs snapshot -r pack/rcv@r

# Encryption: a root, a child of it, a root below it, a clone.
printf 'correct horse' > /tmp/key; E="-o encryption=aes-256-gcm -o keyformat=passphrase -o keylocation=file:///tmp/key"
zfs create $E pack/enc; zfs create pack/enc/kid; zfs create $E pack/enc/own
for d in enc enc/kid enc/own; do put pack/$d 'seq 1 200 > f; echo s > s'; done
zfs snapshot -r pack/enc@1; zfs clone pack/enc/kid@1 pack/enc/clone
for d in enc enc/kid enc/own enc/clone; do put pack/$d 'seq 50 300 > g; rm s'; done
zfs snapshot -r pack/enc@2; zfs bookmark pack/enc@1 'pack/enc#b1'

# Redaction.
zfs create -o recordsize=8k pack/red; put pack/red 'gen 1 900 > f; seq 1 50 > g'; zfs snapshot pack/red@s
zfs clone pack/red@s pack/redc; put pack/redc 'gen 300 500 | dd of=f bs=8k seek=1 conv=notrunc 2>/dev/null'; zfs snapshot pack/redc@c
zfs redact pack/red@s book pack/redc@c; put pack/red 'seq 1 500 > h'; zfs snapshot pack/red@t; zfs bookmark pack/red@s 'pack/red#plain'

# Partial receives: full, with every kind of block, an increment, raw, an increment from a redaction bookmark.
zfs create -o recordsize=1M pack/data; put pack/data 'gen 1 2000 > f; seq 1 30 > e; gen 1 900 > g; for i in 1 2 3 4 5 6; do gen $i 400 > n$i; done'
zfs snapshot pack/data@a; put pack/data 'for i in 7 8 9; do gen $i 500 > n$i; done; rm e'; zfs snapshot pack/data@b
zfs bookmark pack/data@a 'pack/data#a'
zfs create $E pack/edata; put pack/edata 'for i in 1 2 3 4 5 6; do gen $i 400 > n$i; done'; zfs snapshot pack/edata@a
# A redacted dataset that was received, as was an increment of it; directories above 128 KiB; names above 255 bytes.
zfs send --redact book pack/red@s | zfs receive -u pack/redrcv; zfs send -i '#book' pack/red@t | zfs receive -u pack/redrcv
zfs create pack/big; echo 1048576 > /sys/module/zfs/parameters/zap_micro_max_size; put pack/big 'mkdir d; for i in $(seq 2300); do : > d/f$i; done'
zfs snapshot pack/big@s; zfs create -o longname=on pack/long; put pack/long 'echo x > $(printf "%0300d" 7)'; zfs snapshot pack/long@s
zfs create pack/part
part() { # part NAME BYTES ARGS
  local name=$1 bytes=$2; shift 2
  zfs send "$@" | head -c $bytes | zfs receive -s -u pack/part/$name 2>/dev/null
  echo "pack/part/$name $(zfs get -H -o value receive_resume_token pack/part/$name)" >> /out/tokens.txt; }
part full 190000 pack/data@a; part Lec 25000 -Lec pack/data@a; part raw 18000 -w pack/edata@a
zfs send pack/data@a | zfs receive -u pack/part/incr; part incr 45000 -i @a pack/data@b
zfs send pack/data@a | zfs receive -u pack/part/book; part book 9000 -c -i '#a' pack/data@b
zfs send --redact book pack/red@s | zfs receive -u pack/part/redbook; part redbook 10000 -i '#book' pack/red@t
# Tokens whose snapshot is gone, or another one of that name.
zfs create pack/gone; put pack/gone 'gen 1 1500 > f; gen 1 300 > g'; zfs snapshot pack/gone@g; part gone 60000 pack/gone@g; zfs destroy pack/gone@g
zfs create pack/same; put pack/same 'gen 1 1500 > f; gen 1 300 > g'; zfs snapshot pack/same@g; part same 60000 pack/same@g; zfs destroy pack/same@g; zfs snapshot pack/same@g
zpool sync pack

n=0
snd() { n=$((n + 1)); local q=; [ $# = 0 ] || printf -v q ' %q' "$@"; echo "$n: zfs send$q" >> /out/COMMANDS
  zfs send "$@" > $S/$n.zfs 2> $S/$n.err < /dev/null; local rc=$?; [ $rc = 0 ] || echo $rc > $S/$n.rc
  zfs send -nvP "$@" > $S/$n.est 2> /dev/null < /dev/null; rc=$?; [ $rc = 0 ] || echo $rc > $S/$n.est-rc
  [ -s $S/$n.err ] || rm $S/$n.err; }
# Packages.
snd -R pack/top@3; snd -R pack/top@2; snd -R -I @1 pack/top@3; snd -R -i @1 pack/top@3; snd -R -i @2 pack/top@3; snd -R -h pack/top@3; snd -R -h pack/top/child@2
snd -R -p pack/top/zeta@1; snd -R -b pack/top@3; snd -R -p pack/top@1; snd -R -L -e -c pack/top@3; snd -R -I @1 -h pack/top@3; snd -R -I @1 pack/top@4; snd -R pack/top/child/grand@3
snd -R -X pack/top/child,pack/top/vol pack/top@3; snd -R -X pack/top/zeta pack/top@3; snd -R -X pack/top/a -I @2 pack/top@3
snd -p pack/top@1; snd -p pack/top@4; snd -p -i @1 pack/top@2; snd -b pack/top@2; snd -h pack/top@1; snd -h -p pack/top@2; snd -p pack/top/child/grand@3
snd -p pack/top/vol@1; snd -h pack/top/child@2; snd -p -i '#b1' pack/top@2; snd -R pack/top/vol@2; snd -R pack/top/aclone@3
snd -I @1 pack/top@3; snd -I @2 pack/top@4; snd -I @3 pack/top/alpha@3; snd -I @1 pack/top/alpha@3; snd -R -I @2 pack/top/late@3; snd -p -I @1 pack/top@3; snd -h -I @1 pack/top@3; snd -b -I @1 pack/top@3; snd -b -h -I @1 pack/top@2; snd -c -e -I pack/top@1 pack/top@4
snd -I @1 pack/top/vol@2; snd -I 1 pack/top@2; snd -p -h -b -I @2 pack/top@3
snd -R pack/p@c; snd -R pack/p/base@c; snd -R pack/p/clone@c; snd -i pack/p/clone@b pack/p/base@c; snd -I pack/p/clone@b pack/p/base@c; snd -i pack/p/clone@a pack/p/base@c
snd -R pack/outside@y; snd -R -I @x pack/outside@y; snd -I pack/top/child@2 pack/outside@y; snd -p -I pack/top/child@2 pack/outside@y; snd -R -I pack/top/child@2 pack/outside@y
snd -i pack/top/child@2 pack/outside@x; snd -i pack/top/child@1 pack/outside@y; snd -p -i pack/top/child@2 pack/outside@x; snd -i '#bx' pack/outside@y
snd -R pack/rcv@r; snd -R -b pack/rcv@r; snd -p pack/rcv@r; snd -b pack/rcv@r; snd -p pack/rcv@2; snd -b -p pack/rcv/grand@r; snd -R -I @1 -b -h pack/rcv@r
snd -R -w pack/enc@2; snd -R -w -I @1 pack/enc@2; snd -w -p pack/enc@1; snd -w -p -b pack/enc/own@1; snd -w -i @1 pack/enc@2; snd -w -i '#b1' pack/enc@2; snd -w -I @1 pack/enc/kid@2; snd pack/enc@1; snd -c -i pack/enc/kid@1 pack/enc/clone@2; snd -w -i pack/enc/kid@1 pack/enc/clone@2; snd -w -h pack/enc/clone@2
# One snapshot.
snd pack/top@1; snd -i @1 pack/top@2; snd -i '#b1' pack/top@3; snd -i 'pack/top#b1' -c pack/top@3; snd -i 1 pack/top@2; snd pack/top/vol@1; snd -c -i @1 pack/top/vol@2; snd -L pack/data@a; snd -e -c pack/data@a; snd -w pack/data@a
snd -D pack/top@1; snd pack/outside; snd -i @x pack/outside; snd -i '#bx' pack/outside; snd pack/top/after
snd --redact book pack/red@s; snd --redact pack/red#book -c pack/red@s; snd -p --redact book pack/red@s; snd -i '#book' pack/red@s; snd -i '#book' pack/red@t; snd --redact book pack/red@t; snd --redact book -i '#book' pack/red@t; snd -i '#plain' pack/red@t; snd --redact book -i @s pack/red@t
snd pack/redrcv@s; snd -i @s pack/redrcv@t; snd -L -e -c pack/redrcv@t; snd -p pack/redrcv@t
snd -L pack/big@s; snd -w pack/big@s; snd pack/big@s; snd pack/long@s
# Resumed and saved.
while read -r d t; do snd -t $t; snd -S $d; done < /out/tokens.txt
t=$(head -1 /out/tokens.txt | cut -d' ' -f2); snd -c -t $t; snd -w -t $t
for v in -v -vv -vP -vvP; do { zfs send $v -w pack/big@s | { sleep 3; cat > /dev/null; }; } 2> /out/progress$v.txt; done
zfs send -v -t $t 2> /out/verbose-token.txt > /dev/null; zfs send -v pack/top@1 2> /out/verbose-one.txt >/dev/null; zfs send -v -R pack/top@1 2> /out/verbose-R.txt > /dev/null
zfs send -nv -R -I @1 pack/top@3 > /out/dry-R.txt 2>&1; zfs send -nv -i @1 pack/top@2 > /out/dry-one.txt 2>&1; zfs send -nv -i '#b1' pack/top@2 > /out/dry-book.txt 2>&1; zfs send -nvvv -I @1 pack/top@3 > /out/dry-vvv.txt 2>&1; zfs send -n -R pack/top@1 > /out/dry-quiet.txt 2>&1; zfs send -nP -t $t > /out/dry-token.txt 2>&1
# Refused.
snd pack/top@nope; snd pack/nope@1; snd nopool/x@1; snd pack/top@; snd 'pack/t!p@1'; snd pack/top#b1; snd pack; snd
snd -i @2 pack/top@1; snd -i @1 pack/top@1; snd -i pack/top/zeta@1 pack/top@2; snd -i @nope pack/top@2; snd -i nope/x@1 pack/top@2; snd -i '#nope' pack/top@2; snd -i '#b3' pack/top@2; snd -i '#b2' pack/top@2; snd -i 'pack/outside#bx' pack/top@2; snd -i pack/top pack/top@2; snd -i @ pack/top@2; snd -i '#' pack/top@2; snd -i pack/nope#b pack/top@2; snd -i @2 pack/top/mid@3
snd -I '#b1' pack/top@2; snd -I @nope pack/top@2; snd -I @3 pack/top@2; snd -I @2 pack/top@2; snd -I pack/top/zeta@1 pack/top@2; snd -I @ pack/top@2; snd -I pack/outside@x pack/top@2; snd -I @1 pack/top; snd -R pack/top; snd -R pack/top@nope; snd -R -I @3 pack/top@2; snd -R -I @nope pack/top@2; snd -I @1/x pack/top@2; snd -I @1 -i @1 pack/top@2
snd -R pack/miss@s; snd -R -s pack/miss@s; snd -R -s pack/miss/lacks@s; snd -s pack/miss@s; snd -R pack/top@two
snd -X pack/top/child pack/top@1; snd -R -X pack pack/top@1; snd -R -X 'a b!/c' pack/top@1
snd -R --redact book pack/red@s; snd -w --redact book pack/red@s; snd --redact nope pack/red@s; snd --redact plain pack/red@s; snd --redact book pack/red; snd --redact pack/top#book pack/red@s; snd --redact book pack/top@1
snd -p pack/outside; snd -p pack/enc@1; snd -R pack/enc@1; snd -h pack/enc/kid@1; snd -i @y pack/outside
snd -S pack/top; snd -S pack/top@1; snd -S -c pack/top; snd -S pack/nope; snd -t 1-xyz; snd -t $t pack/top@1; snd -t $t -p; snd -t $t -S pack/part/full; snd pack/part/full; snd pack/part/full@a; snd -t "${t%??}"; snd -t "2${t#1}"
zfs unload-key -a; snd pack/enc@1; snd -c -i @1 pack/enc/kid@2; snd -w pack/enc@1; snd -R -w -c pack/enc@2; snd pack/part/raw; snd -S pack/part/raw; zfs load-key pack/enc < /dev/null
zfs list -t all -Hp -o name,guid,createtxg,origin -r pack > /out/list.txt
# Free space as zeros, so that the image packs well.
echo 0 > /sys/module/zfs/parameters/zfs_initialize_value; zpool initialize -w pack
timeout 60 zpool export pack || zpool export -f pack; cp --sparse=always /tmp/pack.img /out/pack.img; ls /out/sends | wc -l
