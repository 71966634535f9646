//! Makes the pools that `interop/damaged.sh` looks at: `zstream-make-damaged DIR` leaves `NAME/members` for each way in which
//! pools are damaged, and `NAME/what`, what happened.

use std::fs;
use std::path::Path;

use zstream_tests::ways::WAYS;

fn main() {
    let dir = std::env::args().nth(1).expect("usage: zstream-make-damaged DIR");
    for way in &WAYS {
        let dir = Path::new(&dir).join(way.name);
        fs::create_dir_all(&dir).expect("a directory");
        let pool = way.make(&dir);
        fs::write(dir.join("what"), way.what).expect("room");
        fs::write(dir.join("options"), way.options(&pool).join(" ")).expect("room");
        for left in ["source", "elsewhere"] {
            let _ = fs::remove_dir_all(dir.join(left));
        }
    }
}
