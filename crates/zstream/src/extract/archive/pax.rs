//! Headers of a pax archive: fields of ustar, and records for the values that do not fit.

use std::io;

use tar::Header;
use zstream_zpl::Filesystem;
use zstream_zpl::node::Node;

use super::super::{Report, What, xattr_name};
use super::content::Parts;
use crate::error::{Error, Result};

/// The size of a name in the classic header, including the NUL that ends it.
const NAME_BYTES: usize = 100;
/// Above this, an owner does not fit the classic header.
const OWNER_MAX: u64 = 0o7_777_777;
/// Above this, a size does not.
const SIZE_MAX: u64 = 0o77_777_777_777;
const NANOSECONDS: u64 = 1_000_000_000;
/// The header of an entry, with its pax records.
pub(super) struct Fields {
    pub(super) header: Header,
    pub(super) pax: Vec<u8>,
}

impl Fields {
    pub(super) fn new() -> Self {
        Self { header: Header::new_ustar(), pax: Vec::new() }
    }

    /// Sets the name of the entry. A file with a map has another one for programs that do not know sparse files.
    pub(super) fn set_name(&mut self, name: &[u8], parts: Option<&Parts<'_>>) {
        let Some(Parts { content, is_sparse: true, .. }) = parts else {
            return text(&mut self.pax, "path", name, &mut self.header.as_old_mut().name);
        };
        let size = content.size().to_string();
        let size = size.as_bytes();
        let records = [("major", &b"1"[..]), ("minor", b"0"), ("name", name), ("realsize", size)];
        for (key, value) in records {
            record(&mut self.pax, format!("GNU.sparse.{key}").as_bytes(), value);
        }
        let (above, last) = match name.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => name.split_at(slash + 1),
            None => (&b""[..], name),
        };
        let shown = [above, b"GNUSparseFile.0/", last].concat();
        text(&mut self.pax, "path", &shown, &mut self.header.as_old_mut().name);
    }

    /// Sets the target of a link.
    pub(super) fn set_target(&mut self, target: &[u8]) {
        text(&mut self.pax, "linkpath", target, &mut self.header.as_old_mut().linkname);
    }

    /// Sets the number of bytes that follow.
    pub(super) fn set_size(&mut self, size: u64) {
        self.header.set_size(size);
        if size > SIZE_MAX {
            record(&mut self.pax, b"size", size.to_string().as_bytes());
        }
    }

    /// Sets mode, owner, time and device.
    pub(super) fn set_attributes(
        &mut self,
        path: &[u8],
        node: &Node,
        report: &mut Report<'_, '_>,
    ) -> Result<()> {
        attributes(&mut self.header, &mut self.pax, path, node, report)
    }

    /// Sets the extended attributes.
    pub(super) fn set_xattrs(
        &mut self,
        fs: &Filesystem<'_>,
        path: &[u8],
        node: &Node,
        report: &mut Report<'_, '_>,
    ) {
        xattrs(fs, &mut self.pax, path, node, report);
    }
}

/// Stores a text in its field, and in a pax record if it does not fit or is not ASCII.
fn text(pax: &mut Vec<u8>, key: &str, value: &[u8], field: &mut [u8; NAME_BYTES]) {
    if value.len() >= NAME_BYTES || !value.is_ascii() {
        record(pax, key.as_bytes(), value);
    }
    let length = value.len().min(NAME_BYTES - 1);
    field[..length].copy_from_slice(&value[..length]);
}

/// Adds a pax record.
fn record(pax: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    // Space, `=` and newline; then as many digits as the sum with them has.
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    for part in [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"] {
        pax.extend_from_slice(part);
    }
}

fn attributes(
    header: &mut Header,
    pax: &mut Vec<u8>,
    path: &[u8],
    node: &Node,
    report: &mut Report<'_, '_>,
) -> Result<()> {
    header.set_mode(node.permissions());
    for (id, key) in [(node.uid, "uid"), (node.gid, "gid")] {
        let number = match id.posix() {
            Some(number) => u64::from(number),
            None => {
                report.failed(
                    path,
                    What::Owner,
                    format_args!("{key} {} of a domain is not a POSIX id", id.rid()),
                );
                0
            }
        };
        if number > OWNER_MAX {
            record(pax, key.as_bytes(), number.to_string().as_bytes());
        }
        if key == "uid" { header.set_uid(number) } else { header.set_gid(number) }
    }
    let (seconds, nanoseconds) = (node.mtime.seconds, node.mtime.nanoseconds);
    header.set_mtime(u64::try_from(seconds).unwrap_or_default().min(SIZE_MAX));
    if nanoseconds >= NANOSECONDS {
        report.failed(path, What::Times, "its time has more nanoseconds than a second");
    } else if nanoseconds != 0 || seconds < 0 || seconds as u64 > SIZE_MAX {
        record(pax, b"mtime", decimal(seconds, nanoseconds).as_bytes());
    }
    if let Some((major, minor)) = node.device() {
        for (set, key, number) in [
            (Header::set_device_major as fn(&mut Header, u32) -> io::Result<()>, "SCHILY.devmajor", major),
            (Header::set_device_minor, "SCHILY.devminor", minor),
        ] {
            let fits = u64::from(number) <= OWNER_MAX;
            if !fits {
                record(pax, key.as_bytes(), number.to_string().as_bytes());
            }
            set(header, if fits { number } else { 0 })
                .map_err(|source| Error::Archive { path: path.to_vec(), source })?;
        }
    }
    Ok(())
}

/// A time as a decimal number: before 1970 the fraction counts in the negative direction.
fn decimal(seconds: i64, nanoseconds: u64) -> String {
    let total = i128::from(seconds) * i128::from(NANOSECONDS) + i128::from(nanoseconds);
    let sign = if total < 0 { "-" } else { "" };
    let (whole, part) = (total.unsigned_abs() / 1_000_000_000, total.unsigned_abs() % 1_000_000_000);
    format!("{sign}{whole}.{part:09}")
}

fn xattrs(fs: &Filesystem<'_>, pax: &mut Vec<u8>, path: &[u8], node: &Node, report: &mut Report<'_, '_>) {
    let found = match fs.xattrs(node) {
        Ok(found) => found,
        Err(error) => return report.failed(path, What::Xattr, error),
    };
    for xattr in found {
        match fs.xattr_value(&xattr) {
            // The name of a record ends at the first `=`.
            Ok(_) if xattr.name.contains(&b'=') => {
                report.failed(
                    path,
                    What::Xattr,
                    "a pax archive cannot hold an extended attribute with '=' in its name",
                );
            }
            Ok(value) => record(pax, &[b"SCHILY.xattr.", &xattr_name(&xattr.name)[..]].concat(), &value),
            Err(error) => report.failed(path, What::Xattr, error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The length of a record counts its own digits, also where they become one more by that.
    #[test]
    fn records_count_themselves() {
        for value in 0..1100 {
            let mut pax = Vec::new();
            record(&mut pax, b"key", &vec![b'x'; value]);
            let digits = pax.iter().position(|byte| *byte == b' ').unwrap();
            assert_eq!(std::str::from_utf8(&pax[..digits]).unwrap().parse(), Ok(pax.len()));
        }
    }

    #[test]
    fn times_before_1970_are_one_number() {
        assert_eq!(decimal(5, 250_000_000), "5.250000000");
        assert_eq!(decimal(-1, 250_000_000), "-0.750000000");
    }
}
