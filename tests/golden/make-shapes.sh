# Guest script: run as root in a virtual machine with the OpenZFS 2.3.2 module; everything it makes is left under /out.
# Pools whose vdevs have a history: removed, expanded, being expanded, offline, replaced; with gang blocks; dRAID. The members of pool P are
# the files P-*.img; each pool is exported when it is as it should be. The contents are numbers as text, so that the archive stays small.
set -u; P=/sys/module/zfs/parameters; T="-O compression=off -O atime=off"; cd /out
fill() { mkdir -p $1; for i in $(seq 1 $2); do seq $((i*1000)) $((i*1000+20000)) > $1/f$i; done; } # fill DIR FILES: 100 KiB each
mk() { for f in $2; do truncate -s ${3:-64M} $1-$f.img; done; }
V() { for f in $2; do echo $PWD/$1-$f.img; done; }
# Two vdevs removed one after the other, so that some blocks moved twice. The removed devices are not kept.
mk removed "a b c d"; zpool create $T -O recordsize=8k removed $(V removed "a b"); fill /removed 6; zfs snapshot removed@one; zpool sync
zpool add removed $(V removed c); zpool remove removed $(V removed b); zpool wait -t remove removed; fill /removed/two 4
zpool add removed $(V removed d); rm /removed/f3; zpool sync; zpool remove removed $(V removed c); zpool wait -t remove removed
fill /removed/three 2; zpool status removed; zpool export removed; rm removed-[bc].img
# raidz1 of three members, widened twice, with blocks of each width.
mk expanded "a b c d e"; zpool create -o ashift=9 $T expanded raidz1 $(V expanded "a b c"); fill /expanded/one 4; zpool sync
zpool attach expanded raidz1-0 $(V expanded d); zpool wait -t raidz_expand expanded; fill /expanded/two 4; zpool sync
zpool attach expanded raidz1-0 $(V expanded e); zpool wait -t raidz_expand expanded; fill /expanded/three 2; zpool status expanded; zpool export expanded
# raidz2 of four members, exported while it is being widened.
mk expanding "a b c d e"; zpool create -o ashift=9 $T expanding raidz2 $(V expanding "a b c d"); fill /expanding/one 60; zpool sync; sleep 6
echo 1500000 > $P/raidz_expand_max_reflow_bytes; zpool attach expanding raidz2-0 $(V expanding e); sleep 12
fill /expanding/two 3; zpool sync; sleep 3; zpool status expanding; zpool export expanding; echo 0 > $P/raidz_expand_max_reflow_bytes
# Every allocation above 8 KiB becomes a gang block, nested where the record is large.
mk ganged "a b"; zpool create -o ashift=9 $T ganged mirror $(V ganged "a b"); echo 8192 > $P/metaslab_force_ganging; echo 100 > $P/metaslab_force_ganging_pct
fill /ganged 3; zpool sync; echo 16777217 > $P/metaslab_force_ganging; zpool export ganged
# Top-level vdevs of every class, two copies of everything, deduplicated files, one member replaced, one offline since before the last files.
mk several "a b c d e f g"; zpool create -f $T several $(V several a) mirror $(V several "b c") special mirror $(V several "d e") log $(V several f)
zfs set special_small_blocks=4k several; zfs set copies=2 several; fill /several/x 6; zfs create -o dedup=on -o checksum=sha256 several/d; fill /several/d 2
cp /several/d/f1 /several/d/again; zpool sync; zpool replace several $(V several b) $(V several g); zpool wait -t replace several
zpool offline several $(V several c); fill /several/y 2; zpool status several; zpool export several; rm several-b.img
mk declustered "a b c" 80M; zpool create declustered draid1:1d:3c:1s $(V declustered "a b c"); zpool export declustered
ls -la /out
