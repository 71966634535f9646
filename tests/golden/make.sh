# Guest script: run as root on a machine or a virtual machine with the OpenZFS 2.3.2 module; everything it makes is left
# under /out. It makes one pool with the real OpenZFS and takes, from it,
set -u; mark() { echo "$(cut -d" " -f1 /proc/uptime) $*"; }
S=/out/streams; M=/out/manifest; I=/out/images; mkdir -p $S $M $I
rnd() { dd if=/dev/urandom bs=$1 count=$2 2>/dev/null; }
truncate -s 160M /tmp/tank.img
zpool create -o ashift=9 -O mountpoint=/mnt/tank -O atime=off -O xattr=sa -O acltype=posix -O compression=lz4 tank /tmp/tank.img
fill() { # fill DIR SCALE: a tree with every shape of file
  d=$1; n=$2; mkdir -p $d/dir/deep/er $d/many
  : > $d/empty; printf 'hello\n' > $d/tiny; seq 1 30 > $d/embedded
  seq 1 $((n*4000)) > $d/text; rnd 1k $((n*90)) > $d/random
  truncate -s 12M $d/sparse; rnd 4k 3 | dd of=$d/sparse bs=4k seek=700 conv=notrunc 2>/dev/null
  printf 'tail' | dd of=$d/sparse bs=1 seek=9000000 conv=notrunc 2>/dev/null
  rnd 1k 5 > $d/dir/a; rnd 1000 3 > $d/dir/deep/er/b; dd if=/dev/zero of=$d/zeros bs=128k count=9 2>/dev/null
  ln -s ../tiny $d/dir/link; ln -s "$(seq -s/ 1 60)" $d/dir/longlink; ln $d/tiny $d/dir/hard
  for i in $(seq 1 $((n*120))); do printf '%s' $i > $d/many/a-rather-long-file-name-number-$i; done
  mkfifo $d/fifo; mknod $d/null c 1 3; chmod 4755 $d/tiny; chown 1234:5678 $d/text
  setfattr -n user.small -v value $d/tiny; setfattr -n user.big -v "$(seq -s, 1 900)" $d/text
  touch -d '2001-02-03 04:05:06' $d/embedded; printf 'uni' > "$d/naïve-文件"
}
list() { # list DATASET@SNAP: path|type|mode|owner|size|mtime|links|target, then sha256 of files, then xattrs
  mkdir -p /mnt/snap; mount -t zfs -o ro $1 /mnt/snap || return
  (cd /mnt/snap && find . -printf '%p|%y|%m|%U:%G|%s|%T@|%n|%l\n' | sort; echo '# sha256'; find . -type f -print0 | sort -z | xargs -0 sha256sum
   echo '# xattrs'; getfattr -R -h -d -m - . 2>/dev/null) > "$M/$(echo $1 | tr /@ __).txt"; umount /mnt/snap
}
zfs create tank/fs; fill /mnt/tank/fs 2; zfs snapshot tank/fs@a; zfs bookmark tank/fs@a tank/fs#a
cd /mnt/tank/fs; rnd 1k 40 | dd of=random bs=1k seek=20 conv=notrunc 2>/dev/null; truncate -s 10000 text; rm -r dir/deep; rm zeros
for i in $(seq 5 90); do rm many/a-rather-long-file-name-number-$i; done; mv tiny renamed; rnd 1k 700 > new; setfattr -x user.big text
truncate -s 3M sparse; truncate -s 20M sparse; cd /; zfs snapshot tank/fs@b
cd /mnt/tank/fs; rm -r many; seq 1 9000 > again; dd if=/dev/zero of=random bs=1k seek=64 count=64 conv=notrunc 2>/dev/null; cd /; zfs snapshot tank/fs@c
zfs clone tank/fs@a tank/clone; rnd 1k 30 | dd of=/mnt/tank/clone/random bs=1k seek=100 conv=notrunc 2>/dev/null; rm /mnt/tank/clone/empty; zfs snapshot tank/clone@x
zfs clone tank/fs@a tank/clone2; rnd 1k 30 | dd of=/mnt/tank/clone2/random bs=1k seek=110 conv=notrunc 2>/dev/null; rm /mnt/tank/clone2/text; zfs snapshot tank/clone2@y
for r in 512:512 4k:4k 1m:1M; do zfs create -o recordsize=${r#*:} tank/rs${r%:*}; fill /mnt/tank/rs${r%:*} 1; zfs snapshot tank/rs${r%:*}@s; done
mark comp; for c in off lzjb gzip-9 zle zstd-3 zstd-fast-10; do d=tank/c-$c; zfs create -o compression=$c $d; seq 1 6000 > /mnt/$d/text; rnd 1k 20 > /mnt/$d/random; dd if=/dev/zero of=/mnt/$d/zeros bs=1k count=300 2>/dev/null; (seq 1 900; rnd 1k 30; seq 1 900) > /mnt/$d/mixed; zfs snapshot $d@s; done
for k in fletcher2 sha256 sha512 skein edonr blake3 off; do d=tank/k-$k; zfs create -o checksum=$k $d; seq 1 3000 > /mnt/$d/text; zfs snapshot $d@s; done
zfs create -o dnodesize=2k tank/dn; fill /mnt/tank/dn 1; zfs snapshot tank/dn@s
mark enc; printf 'correct horse' > /tmp/key; for e in aes-256-gcm aes-128-ccm; do zfs create -o encryption=$e -o keyformat=passphrase -o keylocation=file:///tmp/key tank/e-$e; fill /mnt/tank/e-$e 1; zfs snapshot tank/e-$e@s; rnd 1k 30 > /mnt/tank/e-$e/more; rm /mnt/tank/e-$e/text; zfs snapshot tank/e-$e@t; done
zfs create -V 8M -o volblocksize=8k tank/vol; sleep 2; z=$(ls /dev/zd[0-9]* | head -1); (seq 1 20000; rnd 4k 20) | dd of=$z bs=8k conv=notrunc 2>/dev/null; sync; zfs snapshot tank/vol@s; rnd 8k 5 | dd of=$z bs=8k seek=300 conv=notrunc 2>/dev/null; sync; zfs snapshot tank/vol@t
zfs create tank/tree; zfs set org.example:note=hi tank/tree; zfs create -o recordsize=16k tank/tree/child; seq 1 500 > /mnt/tank/tree/f; seq 1 700 > /mnt/tank/tree/child/g; zfs snapshot -r tank/tree@1; zfs hold keep tank/tree@1; seq 1 900 > /mnt/tank/tree/child/h; zfs snapshot -r tank/tree@2
mark redact; zfs redact tank/fs@a red tank/clone@x; zfs redact tank/fs@a redtwo tank/clone@x tank/clone2@y
mark manifests; for s in fs@a fs@b fs@c clone@x clone2@y rs512@s rs4k@s rs1m@s dn@s tree@2 tree/child@2 e-aes-256-gcm@s e-aes-256-gcm@t e-aes-128-ccm@t c-off@s c-lzjb@s c-gzip-9@s c-zle@s c-zstd-3@s c-zstd-fast-10@s; do list tank/$s; done
snd() { o=$1; shift; zfs send "$@" > $S/$o.zfs 2> /tmp/err || { echo "FAIL $o: $(cat /tmp/err)"; rm -f $S/$o.zfs; return; }; echo "$o: zfs send $*" >> /out/COMMANDS; }
mark sends; snd fs-full tank/fs@a; snd fs-full-c -c tank/fs@a; snd fs-full-e -e tank/fs@a; snd fs-full-Lec -L -e -c tank/fs@a; snd fs-full-p -p tank/fs@a
snd fs-incr -i @a tank/fs@b; snd fs-incr-ec -e -c -i @a tank/fs@b; snd fs-incr-book -i '#a' tank/fs@b; snd fs-incr-ac -i @a tank/fs@c; snd fs-package-I -I @a tank/fs@c
snd clone-incr -i tank/fs@a tank/clone@x; snd fs-redacted --redact red tank/fs@a; snd fs-redacted-two --redact redtwo -c tank/fs@a; snd fs-from-redbook -i '#red' tank/fs@b; snd fs-unredact -i '#redtwo' tank/fs@a
for r in rs512 rs4k rs1m dn; do snd $r tank/$r@s; snd $r-Lec -L -e -c tank/$r@s; done
mark comp; for c in off lzjb gzip-9 zle zstd-3 zstd-fast-10; do snd c-$c-c -c tank/c-$c@s; done; for k in fletcher2 sha256 skein edonr blake3; do snd k-$k tank/k-$k@s; done
for e in aes-256-gcm aes-128-ccm; do snd e-$e-raw -w tank/e-$e@s; snd e-$e-raw-incr -w -i @s tank/e-$e@t; snd e-$e-plain tank/e-$e@s; done
snd vol tank/vol@s; snd vol-incr -c -i @s tank/vol@t; snd tree-R -R tank/tree@2; snd tree-R-incr -R -I @1 tank/tree@2; snd tree-R-h -R -h tank/tree@1; zfs unmount tank/c-off; snd fs-head tank/c-off
mark estimates; for a in "tank/fs@a" "-c tank/fs@a" "-L -e -c tank/rs1m@s" "-i @a tank/fs@b" "-I @a tank/fs@c" "-R tank/tree@2" "-w tank/e-aes-256-gcm@s"; do echo "## zfs send -nvP $a"; zfs send -nvP $a 2>&1; done > /out/estimates.txt
# interrupted receives: tokens, resumed and saved streams
mark receives; zfs create tank/rx; for o in fs-full fs-full-Lec; do head -c 300000 $S/$o.zfs | zfs receive -s tank/rx/$o 2>/dev/null; t=$(zfs get -H -o value receive_resume_token tank/rx/$o); echo "$o $t" >> /out/tokens.txt; zfs send -nvt $t >> /out/tokens.decoded.txt 2>&1; zfs send -t $t > $S/$o-resumed.zfs; zfs send -S tank/rx/$o > $S/$o-saved.zfs; done
mark lists; zfs list -t all -o name,guid,createtxg,creation,used,refer,logicalreferenced -p -H -r tank > /out/list.txt; mark sync; timeout 60 zpool sync; mark export; timeout 60 zpool export tank || (mark again; timeout 60 zpool export -f tank); mark copy; cp /tmp/tank.img $I/tank.img
mark vdevs; for v in mirror raidz1 raidz2 raidz3; do rm -f /tmp/v*.img; for i in 1 2 3 4 5; do truncate -s 64M /tmp/v$i.img; done; zpool create -o ashift=12 -O mountpoint=/mnt/$v -O recordsize=32k p$v $v /tmp/v1.img /tmp/v2.img /tmp/v3.img /tmp/v4.img /tmp/v5.img; fill /mnt/$v 1; zfs snapshot p$v@s; list p$v@s; zfs send p$v@s > $S/p$v.zfs; zpool export p$v; for i in 1 2 3 4 5; do cp /tmp/v$i.img $I/$v-$i.img; done; done
rm -f /tmp/v*.img
