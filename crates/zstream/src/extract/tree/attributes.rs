//! The attributes of restored nodes: owner, extended attributes, mode and times.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use zstream_zpl::node::{FileType, Node, Time};
use zstream_zpl::{Filesystem, Fuid};

use super::super::{CopyError, LOST_ACL, Report, What, has_acl, xattr_name};
use super::{Tree, permissions};
use crate::text::file_name;

const NANOSECONDS: u64 = 1_000_000_000;

/// The extended attribute with the capabilities that a program gets, as others get a user from the set-user-ID bit.
const CAPABILITY: &[u8] = b"security.capability";

/// The handle to set attributes through.
pub(super) enum Handle<'a> {
    Open(&'a File),
    /// A name in a directory: links and devices are not opened.
    Name(&'a File, &'a [u8]),
}

impl Tree {
    /// Sets owner, extended attributes, mode and times, in this order, because each may change those after it.
    pub(super) fn attributes(
        &self,
        fs: &Filesystem<'_>,
        handle: &Handle<'_>,
        path: &[u8],
        node: &Node,
        report: &mut Report<'_, '_>,
    ) {
        if self.has_owners {
            self.owner(fs, handle, path, node, report);
        }
        match fs.xattrs(node) {
            Ok(xattrs) => {
                for xattr in xattrs {
                    if self.options.no_setuid && xattr.name == CAPABILITY {
                        report.left_out(What::Xattr);
                        continue;
                    }
                    let set = fs.xattr_value(&xattr).map_err(CopyError::from).and_then(|value| {
                        handle.set_xattr(&xattr_name(&xattr.name), &value).map_err(CopyError::from)
                    });
                    if let Err(error) = set {
                        let name = file_name(&xattr.name);
                        report.failed(path, What::Xattr, format_args!("extended attribute {name}: {error}"));
                    }
                }
            }
            Err(error) => report.failed(path, What::Xattr, error),
        }
        if has_acl(node) {
            report.failed(path, What::Acl, LOST_ACL);
        }
        // Links have no mode of their own.
        if node.file_type() != Some(FileType::Symlink)
            && let Err(error) = handle.set_mode(self.mode(node))
        {
            report.failed(path, What::Mode, format_args!("mode: {error}"));
        }
        match (timespec(node.atime), timespec(node.mtime)) {
            (Some(last_access), Some(last_modification)) => {
                if let Err(error) = handle.set_times(&Timestamps { last_access, last_modification }) {
                    report.failed(path, What::Times, format_args!("times: {error}"));
                }
            }
            _ => report.failed(path, What::Times, "its times have more nanoseconds than a second"),
        }
    }

    /// The mode that a node gets. The set-user-ID bit of one owner must not become that of another.
    fn mode(&self, node: &Node) -> Mode {
        let mode = permissions(node.permissions());
        if self.options.no_setuid || self.options.no_same_owner {
            mode - (Mode::SUID | Mode::SGID)
        } else {
            mode
        }
    }

    fn owner(
        &self,
        fs: &Filesystem<'_>,
        handle: &Handle<'_>,
        path: &[u8],
        node: &Node,
        report: &mut Report<'_, '_>,
    ) {
        let mut posix = |id: Fuid, what: &str| {
            // The highest number is the system's word for "as it is".
            let found = id.posix().filter(|id| *id != u32::MAX);
            if found.is_none() {
                let domain = fs.domain(id).unwrap_or("an unknown domain");
                report.failed(
                    path,
                    What::Owner,
                    format_args!("{what} {} of {domain} is not a POSIX id", id.rid()),
                );
            }
            found
        };
        let (uid, gid) =
            (posix(node.uid, "user").map(Uid::from_raw), posix(node.gid, "group").map(Gid::from_raw));
        if let Err(error) = handle.set_owner(uid, gid) {
            report.failed(path, What::Owner, format_args!("owner: {error}"));
        }
    }
}

impl Handle<'_> {
    fn set_owner(&self, uid: Option<Uid>, gid: Option<Gid>) -> io::Result<()> {
        Ok(match self {
            Self::Open(file) => rustix::fs::fchown(file, uid, gid),
            Self::Name(parent, name) => {
                rustix::fs::chownat(parent, *name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
            }
        }?)
    }

    fn set_mode(&self, mode: Mode) -> io::Result<()> {
        Ok(match self {
            Self::Open(file) => rustix::fs::fchmod(file, mode),
            // Not for links, which are never given here; the name was made a moment ago.
            Self::Name(parent, name) => rustix::fs::chmodat(parent, *name, mode, AtFlags::empty()),
        }?)
    }

    fn set_times(&self, times: &Timestamps) -> io::Result<()> {
        Ok(match self {
            Self::Open(file) => rustix::fs::futimens(file, times),
            Self::Name(parent, name) => {
                rustix::fs::utimensat(parent, *name, times, AtFlags::SYMLINK_NOFOLLOW)
            }
        }?)
    }

    fn set_xattr(&self, name: &[u8], value: &[u8]) -> io::Result<()> {
        Ok(match self {
            Self::Open(file) => rustix::fs::fsetxattr(file, name, value, XattrFlags::empty()),
            Self::Name(parent, node) => {
                // There is no call for a name in an open directory; this path leads there and does not follow a link at its end.
                let path = [format!("/proc/self/fd/{}/", parent.as_raw_fd()).as_bytes(), node].concat();
                rustix::fs::lsetxattr(path, name, value, XattrFlags::empty())
            }
        }?)
    }
}

fn timespec(time: Time) -> Option<Timespec> {
    let nanoseconds = time.nanoseconds;
    (nanoseconds < NANOSECONDS).then_some(Timespec { tv_sec: time.seconds, tv_nsec: nanoseconds as _ })
}
