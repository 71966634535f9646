//! The vdev tree, and reads from ranges of top-level vdevs.
//!
//! ```text
//! VdevTree                         the vdevs to which the addresses in block pointers refer
//!  +- 0: Mirror                    the same bytes at the same offset on every child
//!  |     +- leaf                   offset 0 is 4 MiB into the device
//!  |     +- Replacing (a mirror)
//!  +- 1: Raidz                     columns, see `raidz`
//!  +- 2: Draid                     groups of columns over all children, see `draid`
//!  |     +- Spare (a mirror)
//!  |           +- DraidSpare       the same offset on another child of the dRAID vdev
//!  +- 3: Indirect                  translated to other top-level vdevs, see `indirect`
//! ```
//!
//! The content of a member is trusted only after the checksum of the block matches. A read therefore has a
//! verification, and tries copies, and with raidz reconstructions, until one passes. Members that turn out to be
//! corrupt are reported as [`Damage`]. Missing members are not damage; they are in the state of the tree. Neither is
//! what a member missed while it was absent, see `missed`.

pub(crate) mod arithmetic;
pub(crate) mod config;
pub(crate) mod draid;
pub(crate) mod indirect;
mod kind;
pub mod label;
mod label_copy;
pub(crate) mod label_write;
mod mirror;
mod missed;
pub(crate) mod raidz;
mod reading;
mod shape;
mod size;
pub(crate) mod sync;
mod tree;
pub mod uberblock;
pub(crate) mod used;
mod write;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

pub use self::arithmetic::{TYPICAL_BYTES, deflated};
pub use self::config::{PoolConfig, PoolState, VdevConfig, VdevType};
use self::draid::{DistributedSpare, Family, Home};
use self::indirect::Mapping;
pub use self::label_copy::copy_labels;
use self::missed::Missed;
use self::raidz::{Geometry, Map};
pub use self::reading::{Damage, DamageCause};
pub(crate) use self::reading::{Effort, Reading};
pub use self::shape::Shape;
pub use self::size::CutMember;
pub(crate) use self::size::MEMBER_BYTES_MIN;
pub use self::tree::VdevTree;
use crate::device::Device;
use crate::error::{Error, Fault, Result};
use crate::ids::Guid;

/// The offset of the allocatable space on a device, after two labels and the boot area.
pub const LEAF_DATA_START: u64 = 4 << 20;

/// The availability of a vdev (`vdev_state_t`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum VdevState {
    /// All members are present.
    Online,
    /// The device is present but was taken offline. It is read last, and its content may be out of date.
    Offline,
    /// Members are missing, but everything can be read.
    Degraded,
    /// Not everything can be read.
    Unavailable,
}

impl fmt::Display for VdevState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Online => "ONLINE",
            Self::Offline => "OFFLINE",
            Self::Degraded => "DEGRADED",
            Self::Unavailable => "UNAVAIL",
        })
    }
}

/// A device and its name.
#[derive(Debug, Clone)]
pub struct Member {
    /// The path, or another name for the user.
    pub name: String,
    /// The device.
    pub device: Arc<dyn Device>,
}

/// A vdev with its devices.
#[derive(Debug)]
pub struct Vdev {
    config: VdevConfig,
    name: String,
    kind: Kind,
    missed: Missed,
}

#[derive(Debug)]
enum Kind {
    Leaf(Option<Arc<dyn Device>>),
    Mirror(Vec<Vdev>),
    Raidz(Geometry, Vec<Vdev>),
    Draid(Arc<Family>),
    DraidSpare(DistributedSpare),
    Indirect(OnceLock<Mapping>),
    /// A vdev without blocks.
    Nothing,
}

/// The devices of a pool, and the progress of its raidz expansion.
struct Found<'a> {
    members: &'a HashMap<Guid, Member>,
    reflowed_to: u64,
}

impl Vdev {
    fn build(config: &VdevConfig, found: &Found<'_>, home: &Home) -> Result<Self> {
        let children_in = |home: &Home| {
            config.children.iter().map(|child| Self::build(child, found, home)).collect::<Result<Vec<_>>>()
        };
        let children = || children_in(home);
        let mut name = config.display_name();
        let kind = match &config.kind {
            VdevType::File | VdevType::Disk => {
                let member = found.members.get(&config.guid);
                if let Some(member) = member {
                    name.clone_from(&member.name);
                }
                Kind::Leaf(member.map(|member| Arc::clone(&member.device)))
            }
            VdevType::Mirror | VdevType::Replacing | VdevType::Spare => Kind::Mirror(children()?),
            VdevType::Raidz(geometry) => {
                let mut geometry = geometry.clone();
                if let Some(reflowed) = &mut geometry.expansion.reflowed_to {
                    *reflowed = found.reflowed_to;
                }
                Kind::Raidz(geometry, children()?)
            }
            VdevType::Draid(geometry) => {
                let home = Home::default();
                Kind::Draid(home.settle(geometry.clone(), children_in(&home)?))
            }
            VdevType::DraidSpare(id) => Kind::DraidSpare(DistributedSpare { home: home.clone(), id: *id }),
            VdevType::Indirect => Kind::Indirect(OnceLock::new()),
            VdevType::Hole | VdevType::Missing => Kind::Nothing,
            VdevType::Root => return Err(Error::corrupt("vdev tree", "a root vdev is below the root")),
        };
        Ok(Self {
            config: VdevConfig { children: Vec::new(), ..config.clone() },
            name,
            kind,
            missed: Missed::default(),
        })
    }

    /// Returns the config, without its list of children: see [`Vdev::children`].
    #[must_use]
    pub fn config(&self) -> &VdevConfig {
        &self.config
    }

    /// Returns the path of a device, or a name such as `mirror-0`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the guid.
    #[must_use]
    pub fn guid(&self) -> Guid {
        self.config.guid
    }

    /// Returns the children.
    #[must_use]
    pub fn children(&self) -> &[Vdev] {
        match &self.kind {
            Kind::Mirror(children) | Kind::Raidz(_, children) => children,
            Kind::Draid(family) => &family.children,
            Kind::Leaf(_) | Kind::DraidSpare(_) | Kind::Indirect(_) | Kind::Nothing => &[],
        }
    }

    /// Returns the device, if the vdev is a leaf and present.
    #[must_use]
    pub fn device(&self) -> Option<&Arc<dyn Device>> {
        match &self.kind {
            Kind::Leaf(device) => device.as_ref(),
            Kind::Mirror(_)
            | Kind::Raidz(..)
            | Kind::Draid(_)
            | Kind::DraidSpare(_)
            | Kind::Indirect(_)
            | Kind::Nothing => None,
        }
    }

    /// Returns the state, which depends on the missing members.
    #[must_use]
    pub fn state(&self) -> VdevState {
        let worst = |children: &[Vdev]| match children.iter().map(Vdev::state).max() {
            None | Some(VdevState::Online) => VdevState::Online,
            Some(_) => VdevState::Degraded,
        };
        match &self.kind {
            Kind::Leaf(Some(_)) if self.config.is_offline => VdevState::Offline,
            Kind::Leaf(Some(_)) | Kind::DraidSpare(_) | Kind::Indirect(_) => VdevState::Online,
            Kind::Leaf(None) => VdevState::Unavailable,
            Kind::Nothing if self.config.kind == VdevType::Hole => VdevState::Online,
            Kind::Nothing => VdevState::Unavailable,
            Kind::Mirror(children) if children.iter().any(Vdev::is_available) => worst(children),
            Kind::Raidz(..) | Kind::Draid(_) => {
                let children = self.children();
                let missing = children.iter().filter(|child| !child.is_available()).count();
                let state = worst(children);
                if Some(missing) <= self.config.kind.losses_allowed(children.len()) {
                    state.min(VdevState::Degraded)
                } else {
                    VdevState::Unavailable
                }
            }
            Kind::Mirror(_) => VdevState::Unavailable,
        }
    }

    /// Returns `true` if the vdev can be read.
    #[must_use]
    pub fn is_available(&self) -> bool {
        self.state() != VdevState::Unavailable
    }

    /// Returns `true` if blocks that were born in `birth` are expected to be on the vdev: it has a device that is
    /// present, not offline, and did not miss that transaction group.
    fn counts(&self, birth: u64) -> bool {
        match &self.kind {
            Kind::Mirror(children) => children.iter().any(|child| child.counts(birth)),
            Kind::Leaf(_)
            | Kind::Raidz(..)
            | Kind::Draid(_)
            | Kind::DraidSpare(_)
            | Kind::Indirect(_)
            | Kind::Nothing => self.is_available() && !self.config.is_offline && !self.missed(birth),
        }
    }

    /// Reads `out.len()` bytes at `offset` that pass the verification.
    fn read(&self, offset: u64, birth: u64, out: &mut [u8], reading: &mut Reading<'_>) -> Result<()> {
        match &self.kind {
            Kind::Leaf(_) => self.read_leaf_verified(offset, birth, out, reading),
            Kind::Mirror(children) => mirror::read(children, offset, birth, out, reading),
            Kind::Raidz(..) | Kind::Draid(_) => self.place(offset, out.len(), birth)?.read(out, reading),
            Kind::DraidSpare(spare) => {
                spare.with_member(offset, |member| member.read(offset, birth, out, reading))
            }
            Kind::Indirect(_) | Kind::Nothing => Err(self.holds_nothing()),
        }
    }

    /// Returns the number of sources from which [`Vdev::read_unverified`] can read.
    fn sources(&self) -> usize {
        match &self.kind {
            Kind::Mirror(children) => children.iter().map(Vdev::sources).sum(),
            Kind::Leaf(None) => 0,
            Kind::Leaf(Some(_))
            | Kind::Raidz(..)
            | Kind::Draid(_)
            | Kind::DraidSpare(_)
            | Kind::Indirect(_)
            | Kind::Nothing => 1,
        }
    }

    /// Returns `true` if blocks that were born in `birth` are expected in source number `source`.
    fn source_counts(&self, birth: u64, source: usize) -> bool {
        match &self.kind {
            Kind::Mirror(children) => mirror::source_counts(children, birth, source),
            Kind::Leaf(_)
            | Kind::Raidz(..)
            | Kind::Draid(_)
            | Kind::DraidSpare(_)
            | Kind::Indirect(_)
            | Kind::Nothing => self.counts(birth),
        }
    }

    /// Reads from source number `source` without verification, or from the other sources if that fails.
    fn read_unverified(&self, offset: u64, out: &mut [u8], birth: u64, source: usize) -> Result<()> {
        match &self.kind {
            Kind::Leaf(_) => self.read_leaf(offset, out),
            Kind::Mirror(children) => mirror::read_unverified(children, offset, out, birth, source),
            Kind::Raidz(..) | Kind::Draid(_) => {
                self.place(offset, out.len(), birth)?.read_unverified(out, source)
            }
            Kind::DraidSpare(spare) => {
                spare.with_member(offset, |member| member.read_unverified(offset, out, birth, 0))
            }
            Kind::Indirect(_) | Kind::Nothing => Err(self.holds_nothing()),
        }
    }

    /// Returns the layout of a block of `len` bytes on a vdev with columns, and the children to which it refers.
    fn striped(&self, offset: u64, len: usize, birth: u64) -> Result<(Map, &[Vdev])> {
        match &self.kind {
            Kind::Raidz(geometry, children) => Ok((geometry.map(offset, len, birth), children)),
            Kind::Draid(family) => Ok((family.geometry.map(offset, len), &family.children)),
            Kind::Leaf(_) | Kind::Mirror(_) | Kind::DraidSpare(_) | Kind::Indirect(_) | Kind::Nothing => {
                Err(Error::internal("vdev without columns"))
            }
        }
    }

    fn place(&self, offset: u64, len: usize, birth: u64) -> Result<raidz::Place<'_>> {
        let (map, children) = self.striped(offset, len, birth)?;
        Ok(raidz::Place { name: &self.name, map, children, offset, birth })
    }

    fn read_leaf(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let Some(device) = self.device() else {
            return Err(Fault::NoMember(self.name.clone()).into());
        };
        let at = offset
            .checked_add(LEAF_DATA_START)
            .ok_or_else(|| Error::corrupt("block address", format!("offset {offset:#x} is too large")))?;
        device.read_at(at, out).map_err(|error| Error::from(error).on_vdev(&self.name).at_offset(at))
    }

    fn read_leaf_verified(
        &self,
        offset: u64,
        birth: u64,
        out: &mut [u8],
        reading: &mut Reading<'_>,
    ) -> Result<()> {
        let at = LEAF_DATA_START.saturating_add(offset);
        let (cause, error) = match self.read_leaf(offset, out) {
            Ok(()) => match (reading.verify)(out) {
                Ok(()) => return Ok(()),
                Err(error) => (DamageCause::Wrong, error.on_vdev(&self.name).at_offset(at)),
            },
            Err(error) => (DamageCause::Unreadable, error),
        };
        if self.counts(birth) {
            let vdev = self.name.clone();
            reading.damage.push(Damage { vdev, guid: self.guid(), offset: at, len: out.len() as u64, cause });
        }
        Err(error)
    }

    fn holds_nothing(&self) -> Error {
        if self.config.kind == VdevType::Missing {
            return Fault::NoVdev(format!("vdev {}", self.config.id)).into();
        }
        Error::corrupt("block address", format!("address is on {}, which holds no blocks", self.name))
    }
}

impl Fault {
    /// Returns `true` if the only fault is a missing member.
    fn is_missing_member(&self) -> bool {
        matches!(self, Self::NoMember(_))
    }
}

#[cfg(test)]
pub(crate) mod tests;
