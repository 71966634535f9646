//! Lists the files of a pool's image that is in memory, and prints one of them.
//!
//! ```sh
//! cargo run --example read_image -- disk.img tank/home docs/letter.txt
//! ```

use std::error::Error;
use std::io::{self, Write as _};
use std::sync::Arc;

use zstream::layers::dmu::device::MemoryDevice;
use zstream::layers::zpl::Visit;
use zstream::{Control, NoKeys, PoolPlace, Source};

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [image, dataset, file] = &words[..] else {
        return Err("usage: read_image IMAGE DATASET FILE".into());
    };

    // Where the bytes come from does not matter from here on: a download, an archive, a test.
    let device = Arc::new(MemoryDevice::from(std::fs::read(image)?));
    let place = PoolPlace::on_devices([(image.clone(), device as _)]);
    let source = Source::in_pool(&place, dataset, &NoKeys, &mut Control::new())?;
    let files = source.filesystem()?;

    for visit in files.walk(files.resolve(b"")?) {
        if let Visit::Node { path, node } = visit {
            println!("{:>10} /{}", node.size, String::from_utf8_lossy(&path));
        }
    }

    let content = files.content(&files.resolve(file.as_bytes())?)?;
    let mut bytes = vec![0; usize::try_from(content.size())?];
    content.read(0, &mut bytes)?;
    io::stdout().write_all(&bytes)?;
    Ok(())
}
