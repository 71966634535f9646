#!/usr/bin/env bash
# `zstream sync` between the kernel module and pools that are not imported, in both directions, through a stand-in for `ssh`:
# trees with encrypted datasets, clones and a volume, increments from bookmarks, interrupted ones, and a target that differs.
# What arrives is imported and compared file by file.
#
#   sync.sh          as root, in a system with the module
set -u
bad=0
verdict() { if [ "$2" = 0 ]; then echo "good: $1"; else echo "BAD:  $1"; tail -n 3 err 2> /dev/null; bad=1; fi; }
work=$(mktemp -d); cd "$work" || exit 2
mkdir ours bin mnt; printf 'correct horse' > key; export PATH=$work/bin:$PATH
printf '#!/bin/bash\necho "ssh $1 $2" >> %s/log\nexec bash -c "${@: -1}"\n' "$work" > bin/ssh; chmod +x bin/ssh
sync() { zstream -d ours sync "$@" > out 2> err; }

truncate -s 400M live.img
zpool create -o cachefile=none -O mountpoint="$work/live" live "$work/live.img" || exit 2
zfs create -o compression=zstd -o recordsize=1M live/fs; zfs create live/fs/child; zfs create -V 4M live/fs/vol
zfs create -o encryption=on -o keyformat=passphrase -o keylocation="file://$work/key" live/fs/secret
day() { # day NAME: changes and a snapshot of everything
  for dir in fs fs/child fs/secret; do
    seq "${#1}" 90000 > live/$dir/numbers; dd if=/dev/urandom of="live/$dir/of-$1" bs=64k count=24 2> /dev/null
  done
  zfs snapshot -r "live/fs@$1"
}
files() { # files SNAPSHOT: their names and checksums
  mkdir -p view; mount -t zfs -o ro "$1" view 2> err || return
  (cd view && find . -type f | sort | while read -r file; do sha256sum "$file"; done); umount view
}
# same DATASET NAME: this snapshot of it has the files of that of live/fs, in all datasets
same() {
  local below one two
  for below in "" /child /secret /clone; do
    zfs list "live/fs$below@$2" > /dev/null 2>&1 || continue
    one=$(files "live/fs$below@$2") two=$(files "$1$below@$2")
    [ "$one" = "$two" ] && [ -n "$one" ] || { echo "differs: $1$below@$2" >> err; return 1; }
  done
}
# imported POOL FILESYSTEM SNAPSHOT: the kernel module finds it intact, and the files are the same
imported() {
  zpool import -N -o cachefile=none -R "$work/mnt" -d ours "$1"; verdict "import of $1" $?
  zfs load-key -L "file://$work/key" "$2/secret" 2> err
  same "$2" "$3"; verdict "files of $2@$3" $?
  zpool scrub -w "$1"; zpool status "$1" | grep -q 'errors: No known data errors'; verdict "scrub of $1" $?
  zpool export "$1"
}

echo "== a running ZFS into a pool that is not imported"
zstream pool create --size 400M copy ours/copy.img; day one; day two
sync -n -r zfs:live/fs copy/fs; [ $? = 3 ]; verdict "a dry run finds something: $(grep -c would out)" $?
sync -r --bookmark nas zfs:live/fs copy/fs; verdict "the first time" $?
zfs destroy -r live/fs@one; zfs destroy -r live/fs@two; day three; zfs clone live/fs/child@three live/fs/clone
zfs snapshot live/fs/clone@three; day four; zfs snapshot live/fs/clone@four 2> /dev/null
sync -r --bookmark nas --hold nas zfs:live/fs copy/fs; verdict "from bookmarks: $(grep -c '#nas_two' out)" $?
grep -q '#nas_two' out; verdict "it begins with the bookmark" $?
[ "$(zfs list -H -t bookmark -o name -r live/fs/child)" = "live/fs/child#nas_four" ]; verdict "one bookmark is left" $?
[ "$(zfs holds -H live/fs/vol@four | cut -f 2)" = nas ]; verdict "a hold" $?
sync -r zfs:live/fs copy/fs && ! grep -q sent out; verdict "nothing is left to do" $?
imported copy copy/fs four

echo "== through ssh, interrupted"
timeout -s TERM 6 zstream -d ours sync --rate 400K ssh://me@nas:22/live/fs copy/far > out 2> err; code=$?
zstream -d ours get -H -o value receive_resume_token copy/far | grep -q ^1-; verdict "interrupted ($code)" $?
sync -r ssh://me@nas:22/live/fs copy/far; verdict "the rest" $?
grep -q 'the rest of an interrupted receive' out; verdict "it was resumed" $?
grep -q 'ssh -p 22' log; verdict "by ssh" $?
imported copy copy/far four

echo "== a pool that is not imported into a running ZFS"
zstream -d ours sync -r --jobs 3 copy/fs zfs:live/back > out 2> err; verdict "the first time" $?
zfs load-key -L "file://$work/key" live/back/secret; zfs mount live/back; zfs mount live/back/child
same live/back four; verdict "files" $?
day five; sync -r zfs:live/fs copy/fs; verdict "another day" $?
echo changed > "$(zfs get -H -o value mountpoint live/back/child)/numbers"; zpool sync live
zstream -d ours sync -r copy/fs zfs:live/back > out 2> err; [ $? = 1 ] && grep -q 'has been modified' err; verdict "it was modified" $?
zstream -d ours sync -r -F copy/fs zfs:live/back > out 2> err; verdict "-F" $?
same live/back five; verdict "files" $?
zfs snapshot live/back@own; day six; sync -r zfs:live/fs copy/fs
zstream -d ours sync -r copy/fs zfs:live/back > out 2> err; [ $? = 1 ] && grep -q '@own; -F' err; verdict "it has a snapshot of its own" $?
zstream -d ours sync -r -F copy/fs zfs:live/back > out 2> err; verdict "-F" $?
same live/back six; verdict "files" $?
day seven; sync -r zfs:live/fs copy/fs
zstream -d ours sync --rate 80K copy/fs zfs:live/back > out 2> err & pid=$!
for _ in $(seq 60); do ps | grep -q '[z]fs receive' && break; sleep 1; done; sleep 8; kill -TERM $pid; wait $pid; code=$?
zfs get -H -o value receive_resume_token live/back | grep -q ^1-; verdict "interrupted ($code)" $?
zstream -d ours sync -r copy/fs ssh://nas/live/back > out 2> err && grep -q 'the rest' out; verdict "resumed" $?
same live/back seven; verdict "files" $?

echo "== a running ZFS into another"
zstream sync -r --jobs 3 zfs:live/fs ssh://nas/live/three > out 2> err; verdict "the first time" $?
day eight; zstream sync -r -p -x mountpoint zfs:live/fs ssh://nas/live/three > out 2> err; verdict "and the second" $?
zfs load-key -L "file://$work/key" live/three/secret
same live/three eight; verdict "files" $?

echo "== snapshots of the module go by a policy"
before=$(zstream -d ours list -H -t snapshot -r copy/fs | wc -l)
zstream -d ours prune -r --keep-last 2 copy > out 2> err; verdict "prune: $before, $(tail -n 1 out)" $?
day nine; sync -r zfs:live/fs copy/fs; verdict "an increment follows" $?
zstream -d ours pool check > out 2> err; verdict "pool check" $?
imported copy copy/fs nine
exit $bad
