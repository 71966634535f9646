#!/usr/bin/env bash
# Names of files, for every way in which a filesystem can compare them: zstream puts files one after the other, the kernel
# module makes files of the same names in a filesystem like it, and the two must agree: which names are refused, which are one
# name, and which file is found by each. Then zstream looks up what the module made.
#
#   names.sh guest [PART...]    as root where OpenZFS's module is loaded; zstream is the program to be tested. A part is a
#                               casesensitivity; without any it is those named in /in/parts, or all
#
# Needs getfattr and setfattr (Debian: attr). The last line of a good run is `bad: 0`.
set -uo pipefail
[ "${1:-guest}" = guest ] || { sed -n 2,10p "$0"; exit 2; }
parts=${*:2}; [ -n "$parts" ] || parts=$(cat /in/parts 2>/dev/null || echo sensitive insensitive mixed)
zstream=${ZSTREAM:-zstream}
bad=0
verdict() { if [ "$2" = 0 ]; then echo "good: $1"; else echo "BAD:  $1"; bad=$((bad + 1)); fi; }
work=$(mktemp -d); cd "$work" || exit 2

repeat() { printf "%.0s$1" $(seq 1 "$2"); }
# Case pairs, Turkish i, sharp s, ligatures, marks in every order, Hangul as syllables and letters, signs that join, long
# sequences, what is not UTF-8, names that are too long in a normal form.
fixed=(A a README ReadMe readme $'\xc4\xb1' I i $'\xc4\xb0' $'\xc3\x9f' $'\xe1\xba\x9e' SS ss $'\xef\xac\x81' fi FI $'\xc7\x84' $'\xc7\x85' $'\xc7\x86'
  $'\xc3\xa9' $'e\xcc\x81' $'\xc3\x89' $'E\xcc\x81' $'\xe2\x84\xab' $'\xc3\x85' $'A\xcc\x8a' $'\xe1\xbe\xb3' $'\xce\xb1\xcd\x85' $'\xce\x91\xce\x99'
  $'\xce\xb1\xcd\x85\xcc\x81' $'\xce\xb1\xcc\x81\xcd\x85' $'q\xcc\xa3\xcc\x87' $'q\xcc\x87\xcc\xa3' $'\xea\xb0\x81' $'\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8' $'\xea\xb0\x80\xe1\x86\xa8'
  $'\xe3\x84\xb1\xe3\x85\x8f' $'\xe3\x84\xb1\xe1\x85\xa1' $'\xe3\x8c\x8e' $'\xc2\xbd' $'1\xe2\x81\x842' $'\xe2\x91\xa0' 1 $'\xe0\xa7\x8b' $'\xe0\xa7\x87\xe0\xa6\xbe' $'\xc5\xbf' S s $'\xe2\x84\xaa' k
  $'\xe1\xba\x9b\xcc\xa3' $'\xcc\x81' $'\xe1\x83\x90' $'\xe1\xb2\x90' $'\xf0\x90\x90\xa8' $'\xf0\x90\x90\x80' $'\xef\xbc\xa1'
  "$(repeat $'\xcc\x81' 40)" "a$(repeat $'\xcc\x96' 40)" "a$(repeat $'\xcc\x96' 31)$(repeat $'\xcc\x81' 5)" "a$(repeat $'\xcc\x81' 5)$(repeat $'\xcc\x96' 31)"
  "$(repeat $'\xea\xb0\x80' 60)" "$(repeat $'\xef\xb7\xba' 8)" "$(repeat $'\xc3\xa9' 127)" "$(repeat $'\xe1\xbe\x82' 50)"
  $'\xff' $'a\xff' $'caf\xe9' $'CAF\xe9' $'\xe3ab' $'\xe3AB' $'\xe3' $'\xed\xa0\x80x' $'\xff\xc3\xa9')
pieces=(a A e E i I s S k . $'\xcc\x81' $'\xcc\xa3' $'\xcd\x85' $'\xcc\x88' $'\xcc\xa7' $'\xc3\xa9' $'\xc3\x89' $'\xe1\xb9\xa9' $'\xef\xac\x83' $'\xe1\x84\x80' $'\xe1\x85\xa1'
  $'\xe1\x86\xa8' $'\xea\xb0\x80' $'\xcf\x83' $'\xcf\x82' $'\xce\xa3' $'\xe1\xbe\x80' $'\xd6\x87' $'\xe3\x82\x99' $'\xe3\x81\x8b' $'\xe3\x8c\x84' $'\xc5\xbf' $'\xc4\xb1')
RANDOM=${SEED:-7}
names=("${fixed[@]}")
declare -A given=(); for name in "${fixed[@]}"; do given[$name]=1; done
for _ in $(seq 1 60); do
  name=; for _ in $(seq 1 $((RANDOM % 4 + 1))); do name+=${pieces[RANDOM % ${#pieces[@]}]}; done
  [ "$name" = . ] || [ "$name" = .. ] || [ -n "${given[$name]:-}" ] || { given[$name]=1; names+=("$name"); }
done
mkdir src; for n in "${!names[@]}"; do mkdir "src/$n" && echo "$n" > "src/$n/${names[n]}" || exit 2; done

# content DIR NAME: of the file that is found, or nothing
content() { cat "$1/$2" 2>/dev/null; }
# spell N...: the files of these numbers below src
spell() { for n; do printf 'src/%s/%s\0' "$n" "${names[n]}"; done; }
# put SET N...: at once
put() { local set=$1; shift; spell "$@" | xargs -0 sh -c '"$0" -d ours.img put "$@" "'"ours/$set:/"'" 2> error' "$zstream"; }
truncate -s 256M module.img && zpool create -R /mnt module "$work/module.img" || exit 2
truncate -s 64M source.img && zpool create -O xattr=sa -O mountpoint="$work/source" source "$work/source.img" || exit 2
touch source/with; for name in user.Note user.other; do setfattr -n "$name" -v "of $name" source/with; done
for case in $parts; do
  "$zstream" pool create --size 512M ours ours.img || exit 2
  for form in none formC formD formKC formKD; do
    for only in off on; do
      # A normalization asks for UTF-8.
      [ "$form" = none ] || [ "$only" = on ] || continue
      set="${case:0:1}-$form-$only"; like="-o casesensitivity=$case -o normalization=$form -o utf8only=$only"
      # shellcheck disable=SC2086
      zfs create $like "module/$set" && "$zstream" -d ours.img create $like "ours/$set"; verdict "create $set" $?
      # Each spelling is given anew, so that the last one stays.
      there="/mnt/module/$set"; refused=(); made=()
      for n in "${!names[@]}"; do
        if { rm -f "$there/${names[n]}" && echo "$n" > "$there/${names[n]}"; } 2>/dev/null; then made+=("$n"); else refused+=("$n"); fi
      done
      # The system remembers files by the spellings that they had, also when they are gone.
      zfs unmount "module/$set" && zfs mount "module/$set"
      # The module's files: the number in it is that of the last of all spellings. One spelling of each is put at once, then the
      # next ones over those.
      : > "$set.module"; declare -A spellings=(); rounds=()
      for n in "${made[@]}"; do
        last=$(content "$there" "${names[n]}"); echo "$n $last" >> "$set.module"
        round=${spellings[$last]:-0}; spellings[$last]=$((round + 1)); rounds[round]="${rounds[round]:-} $n"
      done
      echo "  $set: ${#made[@]} names of ${#spellings[@]} files in ${#rounds[@]} rounds, ${#refused[@]} refused"
      taken=0
      for n in "${refused[@]}"; do put "$set" "$n" && { taken=1; echo "  taken: $n ${names[n]@Q}"; }; done
      verdict "$set: what the module refuses is refused" $taken
      for round in "${!rounds[@]}"; do
        # shellcheck disable=SC2086
        put "$set" ${rounds[round]}; ok=$?; [ $ok = 0 ] || grep -av 'B/s' error
        verdict "$set: put spellings $round" $ok
      done
      # Two spellings at once are an error that shows both; nothing is put.
      same=($(awk '$1 != $2 { print $1 "/" $2 }' "$set.module" | sort -u -t / -k 2 | head -5)); taken=0
      for pair in "${same[@]}"; do
        put "$set" "${pair%/*}" "${pair#*/}" && { taken=1; echo "  taken: $pair"; }
        grep -q 'are equivalent names in this filesystem' error || { taken=1; cat error; }
      done
      verdict "$set: ${#same[@]} pairs of spellings are refused" $taken
    done
  done
  "$zstream" -d ours.img create -o "casesensitivity=$case" -o normalization=formD -o xattr=dir ours/xattr
  "$zstream" -d ours.img put source/with ours/xattr:/; verdict "put extended attributes as files" $?
  "$zstream" -d ours.img pool check > check 2>&1; verdict "check" $?
  zpool import -d "$work" -R /mnt ours; verdict "import" $?
  [ "$(getfattr --only-values -n user.Note /mnt/ours/xattr/with)" = "of user.Note" ]; verdict "extended attributes in files are found" $?
  for set in $(zfs list -Ho name -r -d 1 ours | sed -n 's,^ours/,,p' | grep -v xattr); do
    while read -r n last; do
      [ "$(content "/mnt/ours/$set" "${names[n]}")" = "$last" ] || echo "  $n: ${names[n]@Q} is not $last"
    done < "$set.module" > wrong
    [ ! -s wrong ]; verdict "$set: every name leads to its file" $?; head -5 wrong
    ls -A "/mnt/ours/$set" | sort > a; ls -A "/mnt/module/$set" | sort > b
    cmp -s a b; verdict "$set: $(wc -l < a) files of the same names" $?; diff a b | head -4
    while read -r n last; do rm -f "/mnt/ours/$set/${names[n]}"; done < "$set.module"
    [ -z "$(ls -A "/mnt/ours/$set")" ]; verdict "$set: everything can be removed" $?
  done
  zpool scrub -w ours; zpool status ours | grep -q 'No known data errors'; verdict "scrub" $?
  zpool export ours; rm ours.img
done
zpool export module; verdict "export" $?
for file in *.module; do
  set=${file%.module}
  while read -r n last; do printf '/%s\0' "${names[n]}"; done < "$file" | xargs -0 "$zstream" -d module.img cat "module/$set" > found
  awk '{ print $2 }' "$file" | cmp -s - found; verdict "$set: what the module made is found" $?
done
echo "bad: $bad"
exit $((bad > 0))
