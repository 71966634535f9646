#!/usr/bin/env bash
# Pools that tests of zstream made, in the hands of the kernel module. Gang blocks, encrypted and received raw: imported, unlocked,
# every file compared with the manifest of its sender, scrubbed. Encrypted datasets of the first format: read, and refused where
# zstream refuses them.
#
#   made.sh guest [PART...]    as root where OpenZFS's module is loaded. /in has what `zstream-make-pools` left. A part is a
#                              pool: gangs9, gangs12, errata; without any it is those named in /in/parts, or all
#
# The last line of a good run is `bad: 0`.
set -uo pipefail
[ "${1:-guest}" = guest ] || { sed -n 2,10p "$0"; exit 2; }
parts=${*:2}; [ -n "$parts" ] || parts=$(cat /in/parts 2>/dev/null || echo gangs9 gangs12 errata)
bad=0
verdict() { if [ "$2" = 0 ]; then echo "good: $1"; else echo "BAD:  $1"; bad=$((bad + 1)); fi; }
work=$(mktemp -d); cd "$work" || exit 2; mkdir mnt
list() { (cd "$1" && find . -printf '%p|%y|%m|%U:%G|%s|%T@|%n|%l\n' | sort; echo '# sha256'; find . -type f -print0 | sort -z | xargs -0 sha256sum); }
gangs() {
  mv "/in/$1.img" demo.img; zpool import -N -d "$work" demo; verdict "import of $1" $?
  for root in demo/e demo/raw demo/ccm; do echo 'correct horse' | zfs load-key "$root"; verdict "key of $root" $?; done
  for file in /in/*.txt; do
    snapshot=$(zfs list -H -t snapshot -o name | while read -r name; do [ "$(echo "$name" | tr /@ __).txt" = "$(basename "$file")" ] && echo "$name"; done)
    mount -t zfs -o ro "$snapshot" mnt; verdict "mount of $snapshot" $?
    list mnt > found; umount mnt; sed '/^# xattrs/,$d' "$file" > expected
    cmp -s found expected; verdict "files of $snapshot" $?; diff expected found | head -5
  done
  zfs send demo/e/vol@s > /dev/null; verdict "volume" $?
  zfs send -w demo/ccm@s > /dev/null; verdict "raw send" $?
  zpool scrub -w demo; status=$(zpool status demo)
  echo "$status" | grep -q 'with 0 errors' && echo "$status" | grep -q 'No known data errors'; verdict "scrub" $?
  zpool export demo; verdict "export" $?
  zdb -e -p "$work" -bcc demo 2>&1 | grep -E 'No leaks|ganged'; rm demo.img
}
errata() {
  mv /in/errata.img demo.img; zpool import -N -d "$work" demo; verdict "import with errata" $?
  for root in demo/first demo/second; do echo 'correct horse' | zfs load-key "$root"; verdict "key of $root" $?; done
  zpool status demo | grep 'Errata #[34]'; verdict "the module names an erratum" $?
  for root in demo/first demo/second; do
    mount -t zfs -o ro "$root@a" mnt; verdict "mount of $root@a" $?
    (cd mnt && sha256sum -c /in/errata.sums); verdict "files of $root@a" $?; umount mnt
  done
  zfs send -w demo/first@a > /dev/null; [ $? != 0 ]; verdict "the module does not send keys of the first format raw" $?
  zfs send demo/first@a | zfs receive -u demo/plain; verdict "plain send of keys of the first format" $?
  zfs send -w demo/second@a | zfs receive -u demo/raw; verdict "raw send without an IV set" $?
  zfs send -w -i @a demo/second@b | zfs receive -u demo/raw; [ $? != 0 ]; verdict "nobody takes a raw increment from it" $?
  zpool scrub -w demo; zpool status demo | grep -q 'with 0 errors'; verdict "scrub" $?
  zpool export demo
}
for part in $parts; do
  case $part in gangs*) gangs "$part";; *) "$part";; esac
done
echo "bad: $bad"; [ "$bad" = 0 ]
