//! Writes a stream from nothing: files in memory become a pool in memory, and a snapshot of that a stream.
//!
//! ```sh
//! cargo run --example new_stream > greetings.zfs && zstream -f greetings.zfs ls -lR
//! ```

use std::error::Error;
use std::io;
use std::sync::Arc;

use zstream::create::NewPool;
use zstream::layers::dmu::device::{Device, MemoryDevice};
use zstream::{Control, NoKeys, Put, PutOptions, SendRequest, Sender, snapshot};

/// Bytes of the pool.
const POOL_BYTES: usize = 64 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let control = &mut Control::new();
    let device: Arc<dyn Device> = Arc::new(MemoryDevice::new(POOL_BYTES));
    let pool = NewPool::new("memory", &["device"])?.on_devices([("device".to_owned(), device)])?;
    let place = pool.create("example", &NoKeys)?;

    let mut put = Put::open(&place, "memory", &PutOptions::default(), &NoKeys)?;
    for (path, content) in [("english/hello.txt", "Hello\n"), ("deutsch/hallo.txt", "Hallo\n")] {
        put.file(path.as_bytes(), content.as_bytes(), control)?;
    }
    put.finish("example")?;

    place.change("memory", "example", |pool| snapshot(pool, &["memory@first"]))?;
    let open = place.open(None, control)?;
    Sender::new(&open, &SendRequest::new("memory@first"), control)?.send(io::stdout().lock(), control)?;
    Ok(())
}
