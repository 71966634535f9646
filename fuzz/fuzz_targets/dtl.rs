#![no_main]
zstream_fuzz::target!();
