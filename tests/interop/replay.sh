#!/bin/bash
# Intent logs: a pool is frozen (`zpool freeze`), so that every change after that is only in the logs, and copied. Then what
# `zstream --replay` shows, what `zstream pool replay` leaves, and what OpenZFS's module shows after its own replay must be
# the same.
#
#   replay.sh guest [KIND...]    in a system with the module, as root; zstream is the program to be tested. The kinds of pool
#                                are plain, slog, secret and mirror; without any it is those named in /in/parts, or all
#   replay.sh golden             leaves the members of a small pool in /out, and what the module shows after its replay
#
# Needs getfattr and setfattr (Debian: attr), and perl for system calls without a program.
set -u
mode=${1:-guest}
case $mode in guest | golden) ;; *) sed -n 2,13p "$0"; exit 2 ;; esac
kinds=${*:2}; [ -n "$kinds" ] || kinds=$(cat /in/parts 2>/dev/null || echo plain slog secret mirror)
[ "$mode" = golden ] && kinds="golden sealed"
bad=0
verdict() { if [ "$2" = 0 ]; then echo "good: $1"; else echo "BAD:  $1"; bad=1; fi; }
work=$(mktemp -d); cd "$work" || exit 2
printf 'correct horse' > key
echo 1 > /sys/module/zfs/parameters/zfs_bclone_enabled 2>/dev/null

# list DIR: what a tree holds; without times, since a replay has its own
list() {
  (cd "$1" && find . -printf '%P|%y|%m|%U:%G|%n|%l\n' | sort
   find . ! -type d -printf '%P|%s\n' | sort
   find . -type f -print0 | sort -z | xargs -0 sha256sum
   find . -name 'dated*' -printf '%P|%T@\n' | sort
   find . -print0 | sort -z | while IFS= read -r -d '' node; do
     getfattr -h -d -m user -e hex "$node" 2>/dev/null | sort; done)
}
# manifest DIR: the same in the form of the golden manifests
manifest() {
  (cd "$1" && find . -printf '%p|%y|%m|%U:%G|%s|%T@|%n|%l\n' | sort; echo '# sha256'; find . -type f -print0 | sort -z | xargs -0 sha256sum
   echo '# xattrs'; getfattr -R -h -d -m - . 2>/dev/null)
}
# noise BYTES: content that differs with each call; in golden pools it can be compressed
noise() { if [ "$mode" = golden ]; then echo >> "$work/noisy"; seq "$(wc -l < "$work/noisy")000" 9999999 | head -c $(($1 > 150000 ? $1 / 3 : $1)); else head -c "$1" /dev/urandom; fi; }
rename2() { perl -e 'exit(syscall(316, -100, $ARGV[0], -100, $ARGV[1], 0 + $ARGV[2]) ? 1 : 0)' "$1" "$2" "$3"; }
punch() { perl -e 'open(F, "+<", $ARGV[0]); exit(syscall(285, fileno(F), 3, 0 + $ARGV[1], 0 + $ARGV[2]) ? 1 : 0)' "$1" "$2" "$3"; }

# before DIR: what is synced before the pool is frozen
before() {
  mkdir -p "$1"/{old,moved,gone,swap} && cd "$1" || return
  for n in one two three four five six seven eight; do seq 1 3000 > "old/$n"; done
  noise 400000 > old/large; noise 65536 > old/small; seq 1 50000 > old/shrinks; seq 1 200 > old/grows
  echo a > swap/a; echo b > swap/b; echo w > swap/w; mkdir -p moved/deep/er; echo deep > moved/deep/er/file
  setfattr -n user.kept -v kept old/one; setfattr -n user.changed -v before old/one; setfattr -n user.removed -v x old/one
  cd - > /dev/null || return
}

# after DIR: one change of every kind
after() {
  cd "$1" || return
  mkdir new; mkdir -m 1777 new/sticky; echo text > new/text; : > new/empty; noise 5000 > new/short
  noise 700000 > new/large; noise 131072 > new/record; chmod 4711 new/short
  ln -s ../old/one new/symlink; ln -s "$(printf 'x%.0s' $(seq 1 900))" new/long; mkfifo new/fifo; mknod new/null c 1 3; mknod new/disk b 8 17
  ln old/one new/hard; ln new/text new/second; mv new/empty new/renamed; mv old/two moved/two; mv old/three old/four; mv moved/deep new/deep
  rm old/five; rm -r gone; rm new/second
  echo more >> old/six; echo over | dd of=old/large bs=1 seek=200000 conv=notrunc,fsync 2>/dev/null
  noise 131072 | dd of=old/large bs=131072 seek=1 conv=notrunc,fsync 2>/dev/null
  noise 40000 | dd of=old/large bs=40000 seek=8 conv=notrunc oflag=sync 2>/dev/null
  truncate -s 1000 old/shrinks; truncate -s 3M old/grows; echo end >> old/grows; truncate -s 100K new/sparse; echo x > new/twice; echo yy > new/twice
  punch old/small 4096 20000
  chmod 0600 old/seven; chown 1000:1001 old/seven; chown -h 5:6 new/symlink; touch -d '1999-12-31 23:59:59.123456789' old/seven
  touch -d '2001-02-03 04:05:06' new/text; mv new/text new/dated; touch -d '1960-01-01' new/dated
  setfattr -n user.new -v value new/short; setfattr -n user.changed -v after old/one; setfattr -x user.removed old/one; setfattr -n user.dir -v d new
  setfattr -n user.large -v "$(head -c 40000 /dev/zero | tr '\0' b)" new/record
  rename2 swap/a swap/b 2; rename2 swap/w swap/white 4
  mkdir -p new/many; for n in $(seq 1 60); do echo "$n" > "new/many/file $n"; done; rm "new/many/file 3"*
  cp --reflink=always old/eight new/clone 2>/dev/null; cp --reflink=always new/clone new/again 2>/dev/null
  cd - > /dev/null || return
}

# volume DEVICE: changes of a volume
volume() {
  # Kept open: the last close of a volume waits for a transaction group, and the log starts anew.
  exec 9<> "$1"
  for n in 0 5 9; do noise 65536 | dd of="$1" bs=65536 seek=$n oflag=direct,sync 2>/dev/null; done
  # A discard is in the log only with a later write.
  blkdiscard -o 65536 -l 131072 "$1"; noise 1536 | dd of="$1" bs=512 seek=777 oflag=direct,sync 2>/dev/null
}
device() { for _ in $(seq 50); do [ -e "/dev/zvol/$1" ] && break; sleep 0.1; done; [ -e "/dev/zvol/$1" ] && echo "/dev/zvol/$1" || echo /dev/zd0; }

# show POOL DIR OUT: what the module shows of the pool in DIR, after its own replay if there is one
show() {
  zpool import -d "$2" -N -f "$1" || return
  [ "$kind" = secret ] || [ "$kind" = sealed ] && zfs load-key -L "file://$work/key" "$1"
  zfs mount -a; list "/mnt/$1" > "$3"; [ "$mode" = golden ] && manifest "/mnt/$1" > "/out/$1.txt"; head -c 2097152 "$(device "$1/vol")" | sha256sum >> "$3"
  zpool sync "$1"; zpool scrub -w "$1"; zpool status "$1" > status
  grep -q 'No known data errors' status && grep -q 'repaired 0B.*0 errors' status; verdict "$1: scrub" $?
  zpool export "$1"
}

# A filesystem with extended attributes, for what zstream extracts.
[ "$mode" = golden ] || { truncate -s 256M scratch.img && zpool create -O xattr=sa -O mountpoint="$work/scratch" scratch "$work/scratch.img" || exit 2; }

# read_by ZSTREAM... OUT: the same, as zstream shows it
read_by() {
  out=${*: -1}; set -- "${@:1:$#-1}"; tree=scratch/tree; rm -rf $tree scratch/vol*; mkdir $tree
  "$@" extract -C $tree "$pool" 2> words && "$@" extract -C scratch "$pool/vol" 2>> words; verdict "$pool: extract ($*)" $?; cat words
  list $tree > "$out"; head -c 2097152 scratch/vol* | sha256sum >> "$out"
}
same() { cmp -s "$1" "$2"; verdict "$3" $?; diff "$1" "$2" | head -12; }
clean() { zs pool check > check 2>&1; verdict "$pool: check $1" $?; grep -v checked check | head -3; zdb -e -p "$dir" -bcc "$pool" > zdb 2>&1; grep -q 'No leaks' zdb; verdict "$pool: zdb $1" $?; grep -q 'No leaks' zdb || tail -3 zdb; }

for kind in $kinds; do
  pool=r$kind; mkdir "$pool"; options="-o ashift=12" xattr=sa; vdev="$work/$pool/1.img"
  truncate -s 256M "$pool/1.img"
  case $kind in
    slog) truncate -s 64M "$pool/log.img"; vdev="$vdev log $work/$pool/log.img" ;;
    mirror) truncate -s 256M "$pool/2.img"; vdev="mirror $vdev $work/$pool/2.img"; options="$options -O compression=off -O dnodesize=auto -O logbias=throughput" xattr=dir ;;
    secret | sealed) options="$options -O encryption=on -O keyformat=passphrase -O keylocation=file://$work/key" ;;
    golden) options="-o ashift=9 -O compression=lz4" ;;
  esac
  [ $kind = sealed ] && { truncate -s 64M "$pool/log.img"; vdev="$vdev log $work/$pool/log.img"; }
  [ "$mode" = golden ] && { rm "$pool/1.img"; truncate -s 64M "$pool/1.img"; }
  # shellcheck disable=SC2086
  zpool create $options -O "xattr=$xattr" -O mountpoint="/mnt/$pool" "$pool" $vdev; verdict "$pool: create" $?
  zfs create -V 4M -o volblocksize=16k "$pool/vol"; dev=$(device "$pool/vol"); seq 1 100000 | head -c 524288 > start; dd if=start of="$dev" bs=65536 oflag=direct,sync 2>/dev/null
  # A log is created by the first synchronous write, which is not possible in a frozen pool.
  before "/mnt/$pool"; echo first | dd of="/mnt/$pool/old/sync" conv=fsync 2>/dev/null; zpool sync "$pool"; sync
  [ "$mode" = golden ] && zpool trim -w "$pool"
  zpool freeze "$pool"; verdict "$pool: freeze" $?
  after "/mnt/$pool"; sync; volume "$dev"
  for copy in theirs ours gone; do mkdir -p $copy; rm -rf "${copy:?}/$pool"; cp -r "$pool" $copy; done
  list "/mnt/$pool" > live; head -c 2097152 "$dev" | sha256sum >> live; exec 9>&-
  zpool export -f "$pool" 2>/dev/null || zpool export "$pool"; verdict "$pool: export" $?; rm -rf "${pool:?}"
  if [ "$mode" = golden ]; then for member in "ours/$pool"/*; do cp "$member" "/out/$pool-${member##*/}"; done; fi
  show "$pool" "$work/theirs/$pool" module
  # With logbias=throughput the log of a frozen pool can end before the last change, for the module too.
  [ "$kind" = mirror ] || same live module "$pool: the module's replay"
  if [ "$mode" = golden ]; then tail -1 module > "/out/$pool.volume"; continue; fi

  dir=$work/ours/$pool; zs() { zstream -d "$dir" --key-file "$work/key" "$@"; }
  sha256sum "$dir"/* > sums; read_by zs --replay shown; same module shown "$pool: --replay shows what the module shows"
  sha256sum "$dir"/* > sums.after; same sums sums.after "$pool: --replay changes nothing"
  zs pool replay -fnv > records 2>&1; verdict "$pool: dry run" $?; awk '{ print $2 }' records | sort | uniq -c | tr '\n' ' '; echo
  zs pool replay -f; verdict "$pool: replay" $?
  read_by zs shown; same module shown "$pool: pool replay leaves what the module shows"; clean "after the replay"
  show "$pool" "$dir" again; same module again "$pool: the module shows the same"; clean "after the module"
  # Logs that are discarded: with their datasets, and by a change of another one.
  dir=$work/gone/$pool; zs create "$pool/other" 2> words || zs pool export -f "$pool"; zs create "$pool/another"; verdict "$pool: a change of another dataset claims the logs" $?
  clean "with claimed logs"; zs destroy "$pool/vol"; verdict "$pool: destroy a volume with a log" $?; clean "without the volume"
  show_nothing=$(zs pool replay -nv 2>&1 | head -1); echo "$show_nothing"
  zs pool replay "$pool"; verdict "$pool: replay of a claimed log" $?; clean "after all"
done
[ $bad = 0 ] && echo "all good"
exit $bad
