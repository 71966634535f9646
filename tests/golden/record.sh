#!/usr/bin/env bash
# Records what OpenZFS's own `zstream` prints for the golden streams.
#
#   record.sh STREAMS OUT          dump, decompress and recompress of every stream; needs `zstream` 2.3.2
#   record.sh token CASES OUT      every token of token-cases.txt; needs the OpenZFS kernel module as well
#
# OUT of both runs, packed with
#   tar --sort=name --owner=0 --group=0 --mtime=@0 -C OUT -c . | xz -9e > expected.tar.xz
# is what the tests compare with (its layout is in README.md).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

# ran OUT COMMAND...: OUT.out, OUT.err where not empty, OUT.rc where not 0
ran() {
  local to=$1 rc=0; shift
  "$@" > "$to.out" 2> "$to.err" || rc=$?
  [ -s "$to.err" ] || rm "$to.err"
  [ $rc = 0 ] || echo $rc > "$to.rc"
}

if [ "$1" = token ]; then
  mkdir -p "$3/token"
  while read -r name token; do ran "$3/token/$name" zstream token "$token"; done < "$2"
  ran "$3/token/none" zstream token
  exit
fi

streams=$1 out=$2
mkdir -p "$out"/{dump,dump-v,dump-vv,dump-d,dump-C,decompress,recompress,damaged}
zstream dump "$streams/vol.zfs" > /dev/null
for f in "$streams"/*.zfs; do
  n=$(basename "$f" .zfs)
  ran "$out/dump/$n" zstream dump "$f"
  ran "$out/dump-v/$n" zstream dump -v "$f"
  ran "$out/dump-C/$n" zstream dump -C "$f"
  # large and full of checksums: the hash of each, and the text of two
  for v in vv d; do
    ran "$out/dump-$v/$n" zstream dump -$v "$f"
    case $n in
      tree-R-incr|vol-incr) ;;
      *) sha256sum < "$out/dump-$v/$n.out" | cut -d' ' -f1 > "$out/dump-$v/$n.sha256"; rm "$out/dump-$v/$n.out" ;;
    esac
  done
  # the streams these commands write: their hashes. recompress only to what has one possible result.
  # It aborts at REDACT records, and damages raw streams when it recompresses.
  case $n in *redacted*) continue ;; esac
  zstream decompress < "$f" | sha256sum | cut -d' ' -f1 > "$out/decompress/$n.sha256"
  case $n in *-raw*) continue ;; esac
  for c in off lz4 lzjb zle; do
    echo "$c $(zstream recompress $c < "$f" | sha256sum | cut -d' ' -f1)"
  done > "$out/recompress/$n.sha256"
done

# damage NAME STREAM OP...: the stream of one line of damage-cases.txt on standard output
damage() { python3 - "$streams/$2.zfs" "${@:3}" <<'PY'
import sys
data, op, args = bytearray(open(sys.argv[1], "rb").read()), sys.argv[2], sys.argv[3:]
if op == "cut": data = data[:int(args[0])]
elif op == "flip": data[int(args[0])] ^= 1
elif op == "set":
    for at, hexed in zip(args[::2], args[1::2]): data[int(at):int(at) + len(hexed) // 2] = bytes.fromhex(hexed)
elif op == "append": data.extend(bytes.fromhex(args[0]))
elif op == "twice": data = data * 2
else: sys.exit("unknown damage " + op)
sys.stdout.buffer.write(data)
PY
}
tmp=$(mktemp); trap 'rm -f "$tmp"' EXIT
while read -r line; do
  damage $line > "$tmp"
  # shellcheck disable=SC2086
  set -- $line
  ran "$out/damaged/$1" zstream dump -v "$tmp"
done < "$here/damage-cases.txt"
