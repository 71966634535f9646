//! Turns the stream on standard input into a dedup'd one on standard output, as `zfs send -D` once made them.

use std::io::{self, Read as _, Write as _};

fn main() -> io::Result<()> {
    let mut stream = Vec::new();
    io::stdin().read_to_end(&mut stream)?;
    let (deduped, references) = zstream_tests::edit::deduplicated(&stream);
    eprintln!("{references} references");
    io::stdout().write_all(&deduped)
}
