//! Copies of whole pools on other devices.

mod member;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use zstream_dmu::device::{EntryKind, OpenDevice};
use zstream_dmu::error::Error as PoolError;
use zstream_dmu::ids::Txg;
use zstream_dmu::pool::UsedMember;

use self::member::{Copying, Origin, check_unchanged};
use crate::control::{Control, Event};
use crate::error::{Error, MemberFault, Request, Result};
use crate::place::PoolPlace;

/// A copy of a whole pool: every member that is present becomes a device with the same content, to the bit of every
/// allocated block. Free space is not copied.
///
/// A copy that was interrupted is resumed: it records its progress on the new device, which is not a member of a pool
/// before the copy is complete.
///
/// ```no_run
/// use zstream::{Control, PoolCopy, PoolPlace};
///
/// # fn main() -> zstream::Result<()> {
/// let copied = PoolCopy::new(PoolPlace::new(["/dev/sdb"]), "tank.img").run(None, &mut Control::new())?;
/// println!("{} bytes of pool {}", copied.bytes, copied.pool);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct PoolCopy {
    from: PoolPlace,
    to: PathBuf,
    opener: Arc<dyn OpenDevice>,
    force: bool,
}

/// The result of a [`PoolCopy`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopiedPool {
    /// The pool.
    pub pool: String,
    /// The transaction group that was copied.
    pub txg: Txg,
    /// The members and the devices that have their content, as they were named.
    pub members: Vec<(String, PathBuf)>,
    /// The bytes that were copied, without those of an earlier copy.
    pub bytes: u64,
    /// The bytes that an interrupted copy had already written.
    pub resumed_bytes: u64,
}

impl PoolCopy {
    /// A copy of the pool at `from` on the device `to`: a file or another name that its opener creates, or a disk. If the
    /// pool has several members, `to` is a directory, and the copies have the names of the members in it.
    #[must_use]
    pub fn new(from: PoolPlace, to: impl Into<PathBuf>) -> Self {
        let opener = from.opener();
        Self { from, to: to.into(), opener, force: false }
    }

    /// The same to devices that `opener` opens, if that is not the opener of the pool.
    #[must_use]
    pub fn through(self, opener: Arc<dyn OpenDevice>) -> Self {
        Self { opener, ..self }
    }

    /// The same, and existing files and disks that are part of a pool are overwritten.
    #[must_use]
    pub fn overwriting(self) -> Self {
        Self { force: true, ..self }
    }

    /// Copies the pool. If the devices hold several, `name` selects one.
    ///
    /// # Errors
    /// The pool cannot be read, or was changed in the meantime; a device exists already, is too small or cannot be written.
    /// An interrupted copy is resumed by the next call, if the pool was not changed.
    pub fn run(&self, name: Option<&str>, control: &mut Control<'_>) -> Result<CopiedPool> {
        if !self.from.is_newest() {
            return Err(Request::EarlierTxg.into());
        }
        let open = self.from.open(name, control)?;
        let members = open.pool.used_members()?;
        check_unchanged(open.pool.name(), &members, open.pool.txg())?;
        let targets = self.targets(&members)?;
        let total = members.iter().map(|member| member.ranges.bytes()).sum();
        control.event(Event::Total(total));
        let mut copied = CopiedPool {
            pool: open.pool.name().to_owned(),
            txg: open.pool.txg(),
            members: Vec::new(),
            bytes: 0,
            resumed_bytes: 0,
        };
        // All targets are opened first, so that nothing is written if one cannot be used.
        let mut copies = Vec::new();
        for (member, target) in members.iter().zip(&targets) {
            let origin = Origin { pool: open.pool.guid(), txg: open.pool.txg(), member };
            if self.is_same(&member.name, target) {
                return Err(Request::SamePool.into());
            }
            copies.push(Copying::open(origin, &*self.opener, target, self.force)?);
        }
        for copying in &mut copies {
            copied.resumed_bytes += copying.resumed_bytes();
            copied.bytes += copying.copy_blocks(control)?;
        }
        check_unchanged(open.pool.name(), &members, open.pool.txg())?;
        for copying in copies {
            copying.finish()?;
        }
        copied.members = members.into_iter().map(|member| member.name).zip(targets).collect();
        Ok(copied)
    }

    /// True if a member and a target are the same file or disk.
    fn is_same(&self, member: &str, target: &Path) -> bool {
        let member = self.from.opener().identity(member.as_ref());
        member.is_ok_and(|member| self.opener.identity(target).is_ok_and(|target| member == target))
    }

    /// The names of the new devices, in the order of the members.
    fn targets(&self, members: &[UsedMember]) -> Result<Vec<PathBuf>> {
        let is_directory = matches!(self.opener.kind(&self.to), Ok(EntryKind::Directory));
        if members.len() == 1 && !is_directory {
            return Ok(vec![self.to.clone()]);
        }
        let fault = |fault| Error::Member { path: self.to.display().to_string(), fault };
        if !is_directory {
            return Err(fault(MemberFault::NotADirectory { members: members.len() }));
        }
        let mut targets: Vec<PathBuf> = Vec::new();
        for member in members {
            let name = Path::new(&member.name).file_name();
            let target = self.to.join(name.unwrap_or(member.name.as_ref()));
            if targets.contains(&target) {
                let path = target.display().to_string();
                return Err(Error::Member { path, fault: MemberFault::SameName });
            }
            targets.push(target);
        }
        Ok(targets)
    }
}

/// An error of a device, with its name.
fn on_device(path: &Path) -> impl Fn(std::io::Error) -> Error {
    move |error| PoolError::from(error).on_vdev(path.display()).into()
}
