#!/usr/bin/env bash
# Random histories of a tree of datasets, sent with random options and received, the kernel module on one side and zstream on
# the other: first zstream makes the tree and sends and the module receives, then the other way round. The module then holds
# both pools: datasets, snapshots, guids, origins, properties and all files are the same, and a scrub finds nothing.
#
#   recv-history.sh [SEED...]     as root, in a system with the module; needs getfattr and setfattr. Seeds are in /in/seeds
#                                 where none are given. Every third is of an encrypted tree, which is sent raw
#
# The last line of a good run is `bad: 0`.
set -u
[ $# -gt 0 ] || set -- $(cat /in/seeds)
bad=0
say() { echo "$*"; case $1 in BAD*) bad=$((bad + 1)); esac; }
top=$(mktemp -d); printf 'correct horse' > "$top/key"
rounds=5

pick() { local n=$((RANDOM % $#)); shift $n; echo "$1"; }
random() { head -c "$1" /dev/urandom; }

# One change of the files here.
change() {
  local f=f$((RANDOM % 9))
  case $((RANDOM % 11)) in
    0|1) random $((RANDOM * 9 + 1)) > $f;;
    2) seq $((RANDOM % 9000 + 1)) > $f;;
    3) random $((RANDOM % 9000 + 1)) | dd of=$f bs=512 seek=$((RANDOM % 600)) conv=notrunc 2> /dev/null;;
    4) truncate -s $((RANDOM * 30)) $f;;
    5) rm -f $f;;
    6) mkdir -p d$((RANDOM % 3)); for _ in $(seq $((RANDOM % 40 + 1))); do echo $RANDOM > d$((RANDOM % 3))/n$RANDOM; done 2> /dev/null;;
    7) rm -rf d$((RANDOM % 3));;
    8) touch $f; setfattr -n user.x -v "$(random 400 | od -An -tx1 | tr -d ' \n')" $f 2> /dev/null;;
    9) ln -f $f l$((RANDOM % 3)) 2> /dev/null; ln -sfn somewhere/else s$((RANDOM % 3)); chmod 6$((RANDOM % 8))$((RANDOM % 8)) f* 2> /dev/null;;
    10) echo tiny > t$((RANDOM % 5));;
  esac
}

# files DATASET: the one that makes the tree changes some of its files
files() {
  local dir
  if [ $who = zfs ]; then
    mkdir -p view; mount -t zfs "$1" view || { say "BAD mount $1"; return; }
    cd view; for _ in $(seq $((RANDOM % 6 + 2))); do change; done; cd ..; umount view
  else
    dir=put; rm -rf put; mkdir put
    cd put; for _ in $(seq $((RANDOM % 6 + 2))); do change; done; cd ..
    make put put "$1:/" > /dev/null || say "BAD put into $1"
  fi
}

# make VERB...: done by the one that makes the tree; take and send likewise
make() { if [ $who = zfs ]; then zfs "$@"; else zstream -d source --key-file "$top/key" "$@"; fi; }
take() { if [ $who = zfs ]; then zstream -d target --key-file "$top/key" recv "$@"; else zfs receive -u "$@"; fi; }
heads() { make list -H -r -t filesystem -o name a/top; }
head_() { pick $(heads); }
below() { pick $(heads | grep / | grep -v '^a/top$') none; }
snapshots() { make list -H -r -t snapshot -o name a/top; }

# One change of the tree; what cannot be done is not.
grow() {
  local one
  case $((RANDOM % 9)) in
    0|1|2) make create "$(head_)/n$((n = n + 1))";;
    3) one=$(pick $(snapshots) none); [ "$one" = none ] || make clone "$one" "a/top/c$((n = n + 1))";;
    4) one=$(below); [ "$one" = none ] || make destroy -r "$one";;
    5) one=$(below); [ "$one" = none ] || make rename "$one" "a/top/r$((n = n + 1))";;
    6) one=$(pick $(snapshots | grep -v "@$last\$") none); [ "$one" = none ] || make destroy "$one";;
    7) make set test:n=$RANDOM "$(head_)";;
    8) make set recordsize=$(pick 4K 16K 128K $([ -z "$large" ] || echo 1M)) "$(head_)";;
  esac > /dev/null 2>&1
}

# A single stream that is cut off and goes on by its token.
single() { # single SNAPSHOT OPTIONS...
  local name=$1 token size; shift
  make send "$@" "$name" > stream || { say "BAD send $* $name"; return; }
  size=$(stat -c %s stream)
  head -c $((size * (RANDOM % 8 + 1) / 10 + 400)) stream | take -s b/one > /dev/null 2>&1
  if [ $who = zfs ]; then token=$(zstream -d target get -H -o value receive_resume_token b/one 2> /dev/null)
  else token=$(zfs get -H -o value receive_resume_token b/one 2> /dev/null); fi
  case $token in
    1-*) make send -t "$token" > rest 2> err && take -s b/one < rest > /dev/null 2> err || say "BAD seed $seed: $name does not go on: $(tail -n 1 err)";;
    *) take b/one < stream > /dev/null 2> err || say "BAD seed $seed: $name: $(tail -n 1 err)";;
  esac
  echo "$name" >> singles; n=$((n + 1))
  if [ $who = zfs ]; then zstream -d target rename b/one b/one$n; else zfs rename b/one b/one$n; fi || say "BAD seed $seed: rename of b/one"
  echo "b/one$n@${name#*@}" >> singles
}

# list SNAPSHOT: all that its files are
list() {
  mkdir -p snap; mount -t zfs -o ro "$1" snap || return
  (cd snap && find . -printf '%p|%y|%m|%U:%G|%s|%T@|%n|%l\n' | sort; find . -type f -print0 | sort -z | xargs -0 sha256sum; getfattr -R -h -d -m - . 2> /dev/null)
  umount snap
}
same() { list "$1" > x; list "$2" > y; [ -s x ] && cmp -s x y || { say "BAD seed $seed: $2 is not $1"; diff x y | head -4; }; }
tree() { # tree TOP: names, guids of snapshots, origins, properties
  zfs list -H -r -t snapshot -o name,guid "$1" | sed "s,^$1,,"
  zfs list -H -r -t filesystem -o name,origin,test:n,encryption "$1" | sed "s,$1,,g"
}

history() { # history SEED WHO
  local last= n=0 round options from large raw encrypted= base; seed=$1 who=$2
  RANDOM=$seed; cd "$top" || exit 2; rm -rf work; mkdir -p work/source work/target; cd work || exit 2; : > singles
  large=$(pick '' -L) raw=; [ $((seed % 3)) = 0 ] && raw=-w encrypted="-o encryption=aes-256-gcm -o keyformat=passphrase -o pbkdf2iters=100000"
  if [ $who = zfs ]; then
    truncate -s 300M source/a.img; zpool create -o cachefile=none -O mountpoint=legacy -O xattr=$(pick sa on) -O dnodesize=$(pick legacy auto) -O compression=$(pick lz4 off zstd) a "$PWD/source/a.img" || exit 2
    [ -z "$raw" ] || encrypted="$encrypted -o keylocation=file://$top/key"
    zstream pool create --size 500M b target/b.img > /dev/null || exit 2
  else
    zstream pool create --size 300M -O compression=$(pick lz4 off zstd) a source/a.img > /dev/null || exit 2
    truncate -s 500M target/b.img; zpool create -o cachefile=none -O mountpoint=none b "$PWD/target/b.img" || exit 2
  fi
  # shellcheck disable=SC2086
  make create $encrypted a/top || exit 2
  for round in $(seq $rounds); do
    for _ in 1 2 3; do grow; done; files "$(head_)"; files "$(head_)"
    [ $who = zfs ] && zpool sync a
    make snapshot -r "a/top@s$round" || say "BAD snapshot"
    options="$raw"; [ -n "$raw" ] || options="$large $(pick '' -c) $(pick '' -e)"
    from=; [ -z "$last" ] || from="$(pick -I -i) @$last"
    # shellcheck disable=SC2086
    make send -R $options $from "a/top@s$round" > package 2> err || say "BAD seed $seed: send -R $options $from: $(tail -n 1 err)"
    take -F $(pick '' -s) b/copy < package > out 2>&1 || say "BAD seed $seed: recv of -R $options $from: $(tail -n 1 out)"
    base=$(head_)
    # shellcheck disable=SC2086
    single "$base@s$round" $options $([ -n "$raw" ] || pick '' -p)
    last=s$round
  done
  # The module holds both.
  if [ $who = zfs ]; then
    zstream -d target pool check > check 2>&1 || { say "BAD seed $seed: pool check"; head -3 check; }
    zpool import -d target -o cachefile=none -N b || say "BAD import of b"
  else
    zstream -d source pool check > check 2>&1 || { say "BAD seed $seed: pool check"; head -3 check; }
    zpool import -d source -o cachefile=none -N a || say "BAD import of a"
  fi
  [ -z "$raw" ] || for pool in a b; do
    zfs list -H -r -t filesystem -o name,encryptionroot $pool | awk '$1 == $2 { print $1 }' | while read -r root; do
      zfs load-key -L "file://$top/key" "$root" > /dev/null 2>&1
    done
  done
  tree a/top > x; tree b/copy > y; cmp -s x y || { say "BAD seed $seed, by $who: the trees differ"; diff x y | head -6; }
  zfs list -H -r -t snapshot -o name a/top > names
  while read -r base; do same "$base" "b/copy${base#a/top}"; done < names
  while read -r base && read -r copy; do
    # What was destroyed or renamed since is compared no more.
    grep -qx "$base" names && same "$base" "$copy"
  done < singles
  for pool in a b; do
    zpool scrub -w $pool; zpool status $pool | grep -q 'with 0 errors' && zpool status $pool | grep -q 'No known data errors' || say "BAD seed $seed: scrub of $pool"
    zpool export $pool || say "BAD export of $pool"
  done
  say "history $seed by $who${raw:+, encrypted}: $(wc -l < names) snapshots, $(($(wc -l < singles) / 2)) single streams, compared"
}

for seed; do
  for who in zstream zfs; do history "$seed" $who; done
done
echo "bad: $bad"; [ $bad = 0 ]
