# Guest script: run as root in a virtual machine with the OpenZFS 2.3.2 module; everything it makes is left under /out.
# dRAID pools of every parity, with several groups and slices in use; distributed spares idle, in use, and in use but not rebuilt yet. The
# members of pool P are P-*.img. P.sums has the SHA-256 of every file below /P; P-full.zfs and P-raw.zfs are `zfs send -p P/fs@a` and
# `zfs send -Lec -i @a P/fs@b`; P.status, P.get and P.list are `zpool status`, `zpool get -Hp all` and `zfs list -Hp` before the export.
set -u; P=/sys/module/zfs/parameters; cd /out
# fill DIR FILES: text files, and between them a file of zeros that is destroyed later, so that blocks are in many groups.
fill() { mkdir -p $1; for i in $(seq 1 $2); do seq $((i*1000)) $((i*1000+20000)) > $1/f$i; echo $i > $1/small$i; done; sync; }
spread() { for n in $(seq 1 $3); do zfs create -o compression=off -o recordsize=1M $1/gap$n; dd if=/dev/zero of=/$1/gap$n/z bs=1M count=$4 2>/dev/null; sync; zpool sync
	fill $2/part$n 2; zpool sync; done; for n in $(seq 1 $3); do zfs destroy $1/gap$n; done; zpool sync; }
mk() { for f in $2; do truncate -s $3 $1-$f.img; done; }
V() { for f in $2; do echo $PWD/$1-$f.img; done; }
start() { zfs create $1/fs; zfs create -o copies=3 $1/thrice; fill /$1/fs/one 4; fill /$1/thrice 2; spread $1 /$1/fs $2 $3; zfs snapshot $1/fs@a; }
finish() { fill /$1/fs/last 3; rm /$1/fs/one/f1; zfs snapshot $1/fs@b; zfs send -p $1/fs@a > $1-full.zfs; zfs send -Lec -i @a $1/fs@b > $1-raw.zfs
	(cd /; find $1 -type f | sort | while read -r f; do sha256sum "$f"; done) > $1.sums; zpool sync; zpool status $1 | tee $1.status
	zpool get -Hp all $1 > $1.get; zfs list -Hp -r -t all -o name,used,avail,refer,lused,lrefer $1 > $1.list; zpool export $1; }
# The disk stays in the pool, but nothing can be read from it.
fail() { zpool offline -f $1 $PWD/$1-$2.img; }
mk drone "a b c d e f g" 112M; zpool create -o ashift=12 drone draid1:2d:7c:1s $(V drone "a b c d e f g"); start drone 3 40; finish drone
mk drtwo "a b c d e f g h i" 96M; zpool create -o ashift=9 drtwo draid2:4d:9c:1s $(V drtwo "a b c d e f g h i"); start drtwo 3 60
fail drtwo d; zpool replace -s drtwo $PWD/drtwo-d.img draid2-0-0; zpool wait -t resilver drtwo; zpool scrub -w drtwo; finish drtwo; rm drtwo-d.img
mk drthree "a b c d e f g h i j" 96M; zpool create -o ashift=12 drthree draid3:3d:10c:2s $(V drthree "a b c d e f g h i j"); start drthree 3 60
fail drthree b; zpool replace drthree $PWD/drthree-b.img draid3-0-0; zpool wait -t resilver drthree
fail drthree g; zpool replace drthree $PWD/drthree-g.img draid3-0-1; zpool wait -t resilver drthree; finish drthree; rm drthree-[bg].img
mk drpart "a b c d e f" 96M; zpool create -o ashift=12 drpart draid:3d:1s $(V drpart "a b c d e f"); start drpart 2 30
echo 1 > $P/zfs_scan_suspend_progress; fail drpart c; zpool replace drpart $PWD/drpart-c.img draid1-0-0; sleep 6; finish drpart; echo 0 > $P/zfs_scan_suspend_progress; rm drpart-c.img
for f in *.img; do cp --sparse=always $f x && mv x $f; done; ls -las /out
