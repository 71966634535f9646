#!/usr/bin/env bash
# What OpenZFS makes of pools that are damaged in the ways of zstream's tests: imported as it is, with -FXn, with -FX, and read by zdb.
#
#   damaged.sh guest [NAME...]     as root where OpenZFS's module is loaded; /in has a directory for each way, as zstream-make-damaged
#                                  leaves it; zstream on the PATH, if it is there, reads each as well
#
# Each line of the result begins with `row:`.
set -uo pipefail
[ "${1:-guest}" = guest ] || { sed -n 2,8p "$0"; exit 2; }
names=${*:2}; [ -n "$names" ] || names=$(cd /in && ls -d */ | tr -d /)
work=$(mktemp -d)
try() { # import OPTIONS: whether the files are there
  timeout 60 zpool import -d "$work/members" -o cachefile=none -R "$work/mnt" "$@" tank > "$work/out" 2>&1 || { grep -v '^$' "$work/out" | head -3 >&2; echo no; return; }
  found=$(find "$work/mnt" -type f 2> /dev/null | grep -v '/\.zfs/' | wc -l); timeout 60 zpool export tank || zpool export -f tank
  echo "$found files"; }
fresh() { rm -rf "$work"; mkdir -p "$work/members"; cp --sparse=always /in/"$name"/members/* "$work/members/"; }
for name in $names; do
  fresh
  echo "== $name: $(cat /in/$name/what)"
  # If nothing is to be rewound, -n imports the pool all the same.
  dry="exit $(timeout 60 zpool import -d "$work/members" -o cachefile=none -R "$work/mnt" -FXn tank > "$work/out" 2>&1; echo $?)"; head -2 "$work/out"
  zpool list tank > /dev/null 2>&1 && { dry="$dry, imported"; zpool export tank; }
  fresh; plain=$(try); fresh; rewound=$(try -FX); fresh
  timeout 60 zdb -e -p "$work/members" -d tank > "$work/out" 2> "$work/err"; zdb=$?
  grep -q '^Dataset tank/home@mon' "$work/out" && z="datasets listed" || z="no ($(head -1 "$work/err"))"
  echo "row: $name | import: $plain | -FXn: $dry | -FX: $rewound | zdb: $zdb $z"
done
