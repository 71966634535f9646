//! Files, directories and volumes in pools and in streams.

mod cp;
mod hostile_extract;
mod links;
mod names;
mod put;
mod put_crash;
mod put_program;
mod quotas;
mod reflinked;
mod restored;
mod signals;
mod untrusted;
mod view;
mod view_cut;
mod zpl;
