#!/usr/bin/env bash
# Makes a pool with encrypted filesystems that have two keys, owners and quotas. Runs as root where OpenZFS's module is; leaves
# `accounts.img` in /out, and what `zfs get` shows of it while the keys are loaded, `unlocked`, while only one of them is,
# `one`, and while none is, `locked`.
set -eu
pool=accounts image=/out/accounts.img
single=userused@0,userused@1234,groupused@5678,userobjused@1234,groupobjused@0,projectused@0,projectobjused@0,userquota@1234,userquota@7,groupquota@5678,userobjquota@1234,projectquota@0,written@s
truncate -s 64M $image
zpool create -O mountpoint=legacy -O atime=off $pool $image
printf 'correct horse' > /tmp/first; printf 'battery staple' > /tmp/second
encrypted="-o encryption=on -o keyformat=passphrase -o pbkdf2iters=100000"
zfs create $encrypted -o keylocation=file:///tmp/first $pool/e; zfs create $pool/e/below
zfs create $encrypted -o keylocation=file:///tmp/second $pool/e/own; zfs create $pool/plain
mkdir -p /mnt/h
for d in e e/below e/own plain; do
  mount -t zfs $pool/$d /mnt/h
  seq 1 9000 > /mnt/h/numbers; mkdir /mnt/h/d; yes "of $d" | head -c 40000 > /mnt/h/d/f; chown -R 1234:5678 /mnt/h/d
  zfs set userquota@1234=10M groupquota@5678=20M userobjquota@1234=9000 $pool/$d
  umount /mnt/h; zfs snapshot $pool/$d@s
done
mount -t zfs $pool/e /mnt/h; seq 1 5000 > /mnt/h/d/more; chown 1234 /mnt/h/d/more; umount /mnt/h
zpool sync $pool
show() { zfs get -Hp keystatus,$single $pool/{e,e@s,e/below,e/own,plain,plain@s}; }
show > /out/unlocked
zfs unload-key $pool/e/own; show > /out/one
zfs unload-key $pool/e; show > /out/locked
zpool export $pool
