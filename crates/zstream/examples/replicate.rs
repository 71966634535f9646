//! Takes a snapshot from one pool to another, shows how far it is, and stops at Enter.
//!
//! ```sh
//! cargo run --example replicate -- disk.img tank/home@monday backup.img backup/home
//! ```

use std::error::Error;
use std::io;
use std::thread;

use zstream::{Cancel, Control, Event, NoKeys, PoolPlace, Replication};

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [from, snapshot, to, dataset] = &words[..] else {
        return Err("usage: replicate IMAGE SNAPSHOT IMAGE DATASET".into());
    };

    let cancel = Cancel::new();
    let stop = cancel.clone();
    thread::spawn(move || {
        // Standard input that is closed stops nothing.
        if io::stdin().read_line(&mut String::new()).is_ok_and(|bytes| bytes > 0) {
            stop.cancel();
        }
    });

    let (mut done, mut total) = (0, 0);
    let mut control = Control::new().cancelled_by(&cancel).watched_by(|event| match event {
        Event::Total(bytes) => total = bytes,
        Event::Bytes(bytes) => {
            done += bytes;
            eprint!("\r{done} of about {total} bytes");
        }
        Event::Warning(warning) => eprintln!("{warning}"),
        _ => {}
    });
    let (from, to) = (PoolPlace::new([from]), PoolPlace::new([to]));
    let replicated = Replication::new(snapshot, dataset).run(&from, &to, &NoKeys, &mut control)?;
    eprintln!();
    println!("{} snapshots in {} bytes", replicated.snapshots, replicated.sent.bytes);
    Ok(())
}
