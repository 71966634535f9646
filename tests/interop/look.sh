#!/usr/bin/env bash
# What `zstream` shows of a pool against what the kernel module shows: list, get, ls, cat, extract, and pool check.
#
#   look.sh SEED...      a pool for each seed, with datasets of every kind and a random history of files
#   look.sh old          pools from before feature flags
#   look.sh golden       a pool whose files are easily compressed; it and what OpenZFS says of it are left in /out
#   look.sh              takes these words from /in/seeds
#
# Runs as root where OpenZFS's module is loaded; needs getfattr and setfattr (Debian: attr), and 1 GiB in /tmp. A seed takes
# five minutes in an emulated machine.
# `zstream` is taken from PATH or from $ZSTREAM. The last line of a good run is `bad: 0`.
set -uo pipefail
zstream=${ZSTREAM:-zstream}
bad=0 plain=0
say() { echo "$SECONDS s: $*"; case $1 in BAD*) bad=$((bad + 1));; esac; }
pick() { local n=$((RANDOM % $#)); shift $n; echo "$1"; }
random() { if [ $plain = 1 ]; then yes "$RANDOM and more" | head -c $1; else head -c $1 /dev/urandom; fi; }

# fill: some files here
fill() {
  local i
  for i in 1 2 3 4; do random $((RANDOM * (RANDOM % (plain ? 2 : 8)) + 1)) > r$i; done
  seq 1 $((RANDOM % (plain ? 3000 : 30000))) > text; mkdir -p d/e; for i in $(seq $((RANDOM % 40 + 1))); do echo $i > d/n$i; done
  truncate -s $((RANDOM * 400 + 5000000)) sparse; random 4096 | dd of=sparse bs=4k seek=$((RANDOM % 900)) conv=notrunc 2> /dev/null
  echo end >> sparse; : > empty; ln -f r1 d/hard; ln -sf ../r1 d/link; ln -sf "$(seq -s/ 1 70)" long; mkfifo fifo 2> /dev/null; mknod null c 1 3 2> /dev/null
  chmod 4751 r2; chown 1234:5678 r1 text; chown -h 1234:5678 long; touch -d '1999-02-03 04:05:06.789' r3; touch -h -d '2001-01-01' d/link
  setfattr -n user.small -v value r1; setfattr -n user.large -v "$(random 3000 | od -An -tx1 | tr -d ' \n')" text
  setfattr -n user.ondir -v x d; printf 'x' > "naïve-文件"; chmod 1777 d/e
}

# change: some of them change
change() {
  random $((RANDOM + 1)) | dd of=r1 bs=512 seek=$((RANDOM % 90)) conv=notrunc 2> /dev/null; rm -f r4 d/n1; mv text moved
  truncate -s $((RANDOM)) r2; echo more >> empty; setfattr -x user.small r1; random 9000 > new$RANDOM
}

# list: the files here
list() {
  find . -printf '%p|%y|%m|%U:%G|%s|%T@|%n|%l\n' | sort; echo '# sha256'
  find . -type f -print0 | sort -z | xargs -0 sha256sum; echo '# xattrs'; find . -print0 | sort -z | xargs -0 getfattr -h -d -m - 2> /dev/null
}

# same WHAT OURS THEIRS
same() {
  if cmp -s "$2" "$3"; then say "good $1: $(wc -l < "$3") lines"; else say "BAD $1:"; diff "$2" "$3" | head -${4:-8}; fi
}

history() {
  local p=$1 d n i s
  printf 'correct horse' > /tmp/key
  zfs create -o quota=1G -o refquota=500M $p/a; zfs create -o reservation=50M -o refreservation=20M -o recordsize=4k $p/a/res
  zfs create -o encryption=$(pick aes-128-ccm aes-256-gcm) -o keyformat=passphrase -o keylocation=file:///tmp/key $p/e; zfs create $p/e/below
  zfs create -o xattr=on -o casesensitivity=insensitive -o dnodesize=$(pick legacy auto) $p/i; zfs create -o utf8only=on -o normalization=formD $p/n
  zfs create -o version=$(pick 3 4) -o xattr=on $p/v; zfs create -o copies=2 -o checksum=$(pick sha256 skein edonr) $p/c
  zfs create -V 8M -o volblocksize=8k $p/vol; zfs create -s -V 4M $p/thin
  for d in a a/res e i n v c; do
    mkdir -p /mnt/h; mount -t zfs $p/$d /mnt/h; (cd /mnt/h; fill) 2> /tmp/fill.$p; umount /mnt/h
  done
  zfs set userquota@1234=10M groupquota@5678=20M userobjquota@1234=9000 $p/a; zfs set userquota@1234=30M $p/e; zfs set org.example:note="a note" $p/a; zfs set compression=gzip-7 $p/a
  sleep 1; random 100000 | dd of=$(ls -d /dev/zd[0-9]* | grep -v p | head -1) bs=8k seek=3 conv=notrunc 2> /dev/null; sync
  zfs snapshot -r $p@1
  mount -t zfs $p/a /mnt/h; (cd /mnt/h; change); umount /mnt/h; mount -t zfs $p/e /mnt/h; (cd /mnt/h; change); umount /mnt/h
  zfs snapshot -r $p@2; zfs bookmark $p/a@1 "$p/a#b"; zfs hold tag $p/a@1; zfs set org.example:snap=yes $p/a@2
  zfs clone -o quota=100M $p/a@1 $p/clone; mount -t zfs $p/clone /mnt/h; (cd /mnt/h; change); umount /mnt/h; zfs snapshot $p/clone@x
  # Received, with properties: one counts, one is set over, one is inherited in spite of it; and half of an increment.
  zfs send -p $p/a@1 | zfs receive -u -o recordsize=8k -x org.example:note $p/rx
  zfs create $p/rx/below; zfs inherit compression $p/rx; zfs set quota=2G $p/rx
  zfs send -i @1 $p/a@2 | head -c 40000 | zfs receive -s -u $p/rx 2> /dev/null
  zfs send -w $p/e@2 | head -c 60000 | zfs receive -s -u $p/part 2> /dev/null
  mount -t zfs $p/a /mnt/h; (cd /mnt/h; rm -rf d); umount /mnt/h
}

look() {
  local seed=$1 p=look$1 image=/tmp/look$1.img s columns single snapshots
  RANDOM=$seed; truncate -s $(pick 300M 40G) $image
  zpool create -o ashift=$(pick 9 12) -O mountpoint=legacy -O xattr=sa -O acltype=posix -O compression=$(pick lz4 off) $p $image || { say "BAD $p"; return; }
  history $p
  # In a pool that is imported read-only zfs may wait for ever for these.
  single=userused@0,userused@1234,groupused@5678,userobjused@1234,groupobjused@0,userquota@1234,userquota@7,groupquota@5678,userobjquota@1234,projectused@0,projectobjused@0,written@1,written@2
  zpool sync $p; zfs get -Hp $single $p/e $p/e@2 $p/e/below > /tmp/single.unlocked; zfs unload-key $p/e
  zfs get -Hp $single $p/a $p/a@2 $p/e $p/vol $p/v $p/clone > /tmp/single; zfs get $single $p/a > /tmp/single.pretty
  # Nothing changes any more while both look at it.
  zpool export $p; zpool import -o readonly=on -N -d /tmp $p || { say "BAD import"; return; }
  columns=name,used,avail,refer,usedbydataset,usedbysnapshots,usedbyrefreservation,usedbychildren,logicalused,logicalreferenced,written,type,guid,createtxg
  # Those of the second generation are looked at where there was one.
  snapshots=$(zfs list -H -o name -t snapshot -r $p | grep -v -e vol@ -e thin@ -e "^$p@" -e below@ -e "$p/[incv]@2" -e res@2)
  zfs list -r -t all -Hp -o $columns $p > /tmp/list; zfs list -r -t all $p > /tmp/pretty; zfs get -r -Hp all $p > /tmp/get
  zfs get -r -Hp -s received,local,inherited -o name,property,value,received,source all $p/rx > /tmp/received
  # What is received half has a name of its own.
  for s in $p/rx/%recv $p/part; do zfs list -Hp -o $columns $s; zfs get -Hp -o name,property,value,received,source all $s; done > /tmp/half
  zfs load-key -L file:///tmp/key $p/e
  for s in $snapshots; do
    mkdir -p /mnt/s; mount -t zfs -o ro $s /mnt/s && { (cd /mnt/s; list) > /tmp/files.$(echo $s | tr /@ __); umount /mnt/s; }
  done
  zpool export $p

  ours() { "$zstream" -d $image "$@" 2> /tmp/err || say "BAD seed $seed: $*: $(tail -1 /tmp/err)"; }
  ours list -r -t all -Hp -o $columns $p > /tmp/o; same "$seed list" /tmp/o /tmp/list
  ours list -r -t all $p > /tmp/o; same "$seed list for people" /tmp/o /tmp/pretty
  ours get -r -Hp all $p > /tmp/o; same "$seed get all" /tmp/o /tmp/get 20
  ours get -Hp $single $p/a $p/a@2 $p/e $p/vol $p/v $p/clone > /tmp/o; same "$seed get of single users and snapshots" /tmp/o /tmp/single 30
  ours --key-file /tmp/key get -Hp $single $p/e $p/e@2 $p/e/below > /tmp/o; same "$seed the same with a key" /tmp/o /tmp/single.unlocked 30
  ours get $single $p/a > /tmp/o; same "$seed the same for people" /tmp/o /tmp/single.pretty 30
  ours get -r -Hp -s received,local,inherited -o name,property,value,received,source all $p/rx > /tmp/o; same "$seed get of what was received" /tmp/o /tmp/received
  for s in $p/rx/%recv $p/part; do
    ours list -Hp -o $columns $s; ours get -Hp -o name,property,value,received,source all $s
  done > /tmp/o; same "$seed list and get of what is half received" /tmp/o /tmp/half
  ours pool check > /tmp/o && say "good $seed $(tail -1 /tmp/o)"
  # Extracted to another pool, where sizes of directories are the same too.
  truncate -s 300M /tmp/x.img; zpool create -O xattr=sa -O acltype=posix -O compression=off -m /mnt/x x /tmp/x.img
  for s in $snapshots; do
    [ -e /tmp/files.$(echo $s | tr /@ __) ] || { say "without $s, which cannot be mounted"; continue; }
    rm -rf /mnt/x/*; ours --key-file /tmp/key extract -C /mnt/x $s
    (cd /mnt/x; list) > /tmp/o; same "$seed extract $s" /tmp/o /tmp/files.$(echo $s | tr /@ __)
    [ "$(ours --key-file /tmp/key ls -lR $s | wc -l)" = "$(($(grep -n '^# sha256' /tmp/o | cut -d: -f1) - 2))" ] || say "BAD $seed ls -lR $s"
  done
  [ "$(ours cat $p/a@1 sparse | sha256sum)" = "$(grep ' ./sparse$' /tmp/files.${p}_a_1 | sed 's|./sparse|-|')" ] && say "good $seed cat" || say "BAD $seed cat"
  [ $plain = 0 ] || { mv $image /out/look.img; cp /tmp/list /tmp/pretty /tmp/get /tmp/single /tmp/single.pretty /tmp/received /tmp/half /tmp/files.* /out; }
  zpool destroy x; rm -f $image /tmp/x.img /tmp/files.*
}

# A pool from before feature flags, with what such pools have.
old() {
  local p=old$1 image=/tmp/old.img s=old$1/fs@1; truncate -s 200M $image
  zpool create -o version=$1 -O mountpoint=legacy $p $image 2> /tmp/err || { say "without version $1: $(tail -1 /tmp/err)"; return; }
  zfs create $p/fs; mkdir -p /mnt/h; mount -t zfs $p/fs /mnt/h; (cd /mnt/h; fill) 2> /tmp/fill; umount /mnt/h; zfs snapshot $s
  zpool export $p; zpool import -o readonly=on -N -d /tmp $p
  zfs list -r -t all -Hp -o name,used,avail,refer $p > /tmp/list; mkdir -p /mnt/s; mount -t zfs -o ro $s /mnt/s; (cd /mnt/s; list) > /tmp/files; umount /mnt/s; zpool export $p
  "$zstream" -d $image list -r -t all -Hp -o name,used,avail,refer $p > /tmp/o 2>&1; same "version $1 list" /tmp/o /tmp/list
  rm -rf /tmp/tree; mkdir /tmp/tree; "$zstream" -d $image extract -C /tmp/tree $s 2> /tmp/err; (cd /tmp/tree; find . -type f -print0 | sort -z | xargs -0 sha256sum) > /tmp/o
  sed -n '/^# sha256/,/^# xattrs/p' /tmp/files | grep -v '^#' > /tmp/f; same "version $1 files" /tmp/o /tmp/f
  "$zstream" -d $image pool check > /tmp/o 2>&1 && say "good version $1: $(tail -1 /tmp/o)" || say "BAD version $1: $(tail -1 /tmp/o)"
  rm -f $image
}

[ $# = 0 ] && set -- $(cat /in/seeds)
for what; do
  case $what in
  old) for version in 1 15 28; do old $version; done;;
  golden) plain=1; look 7; plain=0;;
  *) look $what;;
  esac
done
echo "bad: $bad"; [ $bad = 0 ]
