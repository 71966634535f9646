//! Makes the pools that `interop/made.sh` looks at: `zstream-make-pools DIR` leaves `gangs9.img` and `gangs12.img`, whose datasets
//! are those of golden streams in gang blocks, with the manifests of their files; and `errata.img`, with the sums of its files.

use std::fs;
use std::path::Path;

use sha2::{Digest as _, Sha256};
use zstream_tests::receiving::Demo;
use zstream_tests::{errata, gangs, golden};

fn main() {
    let dir = std::env::args().nth(1).expect("usage: zstream-make-pools DIR");
    let dir = Path::new(&dir);
    for ashift in [9, 12] {
        leave(&gangs::make(ashift), dir, &format!("gangs{ashift}.img"));
    }
    for (snapshot, files) in gangs::FILES {
        let path = dir.join(format!("{}.txt", snapshot.replace(['/', '@'], "_")));
        fs::write(path, golden::manifest_text(files)).expect("room");
    }
    leave(&errata::make(), dir, "errata.img");
    let sum = |name| {
        let hex: String = Sha256::digest(errata::content(name)).iter().map(|b| format!("{b:02x}")).collect();
        format!("{hex}  {name}\n")
    };
    fs::write(dir.join("errata.sums"), ["file", "other"].map(sum).concat()).expect("room");
}

fn leave(demo: &Demo, dir: &Path, name: &str) {
    demo.check(name);
    let [member] = &demo.members()[..] else { panic!("one member") };
    fs::rename(golden::copy(member, dir), dir.join(name)).expect("a copy");
}
