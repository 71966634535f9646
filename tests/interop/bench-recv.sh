#!/usr/bin/env bash
# `zstream recv` beside the kernel module's `zfs receive`: the same stream into a new pool in a file, by one and by the other in
# turn. Prints medians and their ratio, and the most memory that `zstream` took for a short stream and for one twice as long.
#
#   bench-recv.sh [MIB] [ROUNDS]     as root, in a system with the module; needs 5 * MIB in /tmp. Fails where the ratio is above
#                                    1.5, or where memory grows with the stream
set -u
mib=${1:-160} rounds=${2:-3} bad=0
promised=150                          # percent
growth=$((16 << 10))                  # KiB that twice the data may take
work=$(mktemp -d); cd "$work" || exit 2
now() { echo $((${EPOCHREALTIME/./} / 1000)); }       # milliseconds
median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

# A pool with as much that does not compress, in blocks of 128 KiB; $1: MiB, $2: the stream.
head -c 16M /dev/urandom > noise
make() {
  truncate -s $(($1 * 9 / 8 + 200))M source.img
  zpool create -o cachefile=none -O mountpoint=none -O recordsize=128K -O compression=off source "$PWD/source.img" || exit 2
  zfs create -o mountpoint=legacy source/fs; mkdir -p view; mount -t zfs source/fs view
  for _ in $(seq $(($1 / 16))); do cat noise; done > view/file
  umount view; zfs snapshot source/fs@s; zfs send source/fs@s > "$2"; zpool destroy source; rm source.img
}

# receive WHO STREAM COMPRESSION: milliseconds that it takes, to the last byte on the device
receive() {
  local size started=0 pid peak=0 line
  size=$(($(stat -c %s "$2") / 1048576 * 9 / 8 + 200))M; rm -rf into; mkdir into
  if [ "$1" = zfs ]; then
    truncate -s $size into/pool.img; zpool create -o cachefile=none -O mountpoint=none -O compression="$3" pool "$PWD/into/pool.img" || exit 2
    zpool sync pool; sync; started=$(now)
    zfs receive -u pool/fs < "$2" || exit 2
    zpool sync pool; sync
    echo $(($(now) - started)); zpool destroy pool
  else
    zstream pool create --size $size -O compression="$3" pool into/pool.img > /dev/null || exit 2
    sync; started=$(now)
    zstream -d into recv pool/fs < "$2" 2> err & pid=$!
    while line=$(grep VmHWM /proc/$pid/status 2> /dev/null); do peak=${line//[!0-9]/}; sleep 0.1; done
    wait $pid || { tail -n 1 err; exit 2; }
    sync
    echo $(($(now) - started)); echo "$peak" > peak
  fi
}

make "$mib" long; make $((mib / 2)) short
for compression in off lz4; do
  rm -f zfs.times zstream.times
  for _ in $(seq "$rounds"); do for who in zfs zstream; do receive $who long $compression >> $who.times || exit 2; done; done
  theirs=$(median < zfs.times); ours=$(median < zstream.times); ratio=$((ours * 100 / theirs))
  echo "$mib MiB in records of 128 KiB, compression=$compression: zfs receive $theirs ms, zstream recv $ours ms, ratio $((ratio / 100)).$(printf %02d $((ratio % 100)))"
  echo "  zfs:" $(cat zfs.times) "zstream:" $(cat zstream.times)
  [ $ratio -le $promised ] || { echo "BAD:  the ratio is above 1.5"; bad=1; }
done
long=$(cat peak); receive zstream short off > /dev/null; short=$(cat peak)
echo "memory of zstream recv: $((short >> 10)) MiB for $((mib / 2)) MiB, $((long >> 10)) MiB for $mib MiB"
[ $((long - short)) -le $growth ] || { echo "BAD:  memory grows with the stream"; bad=1; }
[ $bad = 0 ]
