//! Streams read, checked, edited and written, beside the tools of OpenZFS.

mod byteswap;
mod dump;
mod golden_codecs;
mod golden_nvlists;
mod golden_streams;
mod golden_tokens;
mod hostile_streams;
mod info;
mod nested;
mod recompress;
mod redup;
mod resume;
mod select;
mod stored_streams;
mod stream_tools;
mod verify;
