//! Attributes of files as text, as `ls -l` shows them.

use zstream_zpl::Filesystem;
use zstream_zpl::Fuid;
use zstream_zpl::node::{FileType, Node, Time};

use super::{Utc, file_name};

/// The type and the permissions of a file: `drwxr-sr-t`.
#[must_use]
pub fn mode(node: &Node) -> String {
    let bits = node.permissions();
    let mut out = String::from(node.file_type().map_or('?', FileType::letter));
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bit = |bit: u32, letter| if bits >> shift & bit != 0 { letter } else { '-' };
        out.push(bit(4, 'r'));
        out.push(bit(2, 'w'));
        out.push(match (bits & special != 0, bits >> shift & 1 != 0) {
            (false, _) => bit(1, 'x'),
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
        });
    }
    out
}

/// An owner or group: the number of a user, or a domain with the number in it.
#[must_use]
pub fn owner(fs: &Filesystem<'_>, id: Fuid) -> String {
    match (id.posix(), fs.domain(id)) {
        (Some(id), _) => id.to_string(),
        (None, Some(domain)) => format!("{domain}-{}", id.rid()),
        (None, None) => format!("?{}-{}", id.domain(), id.rid()),
    }
}

/// A time in UTC; before 1970 the number of seconds.
#[must_use]
fn file_time(time: Time) -> String {
    match u64::try_from(time.seconds) {
        Ok(seconds) => Utc(seconds).to_string(),
        Err(_) => format!("{}s", time.seconds),
    }
}

/// The attributes and the name of a file: type and mode, links, owner, group, size or device number, modification time, name,
/// target of a symbolic link.
#[must_use]
pub fn long_line(fs: &Filesystem<'_>, name: &[u8], node: &Node) -> String {
    let size = match node.device() {
        Some((major, minor)) => format!("{major}, {minor}"),
        None => node.size.to_string(),
    };
    let target = match node.file_type() {
        Some(FileType::Symlink) => match fs.target(node) {
            Ok(target) => format!(" -> {}", file_name(&target)),
            Err(error) => format!(" -> ({error})"),
        },
        _ => String::new(),
    };
    format!(
        "{} {:>3} {:>5} {:>5} {size:>12} {} {}{target}",
        mode(node),
        node.links,
        owner(fs, node.uid),
        owner(fs, node.gid),
        file_time(node.mtime),
        file_name(name)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_look_as_ls_shows_them() {
        for (bits, text) in [
            (0o040_755, "drwxr-xr-x"),
            (0o104_755, "-rwsr-xr-x"),
            (0o102_640, "-rw-r-S---"),
            (0o041_777, "drwxrwxrwt"),
            (0o120_777, "lrwxrwxrwx"),
            (0o000_600, "?rw-------"),
        ] {
            assert_eq!(mode(&Node { mode: bits, ..Node::default() }), text);
        }
    }
}
