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
pub(crate) mod label_write;
mod mirror;
mod missed;
pub(crate) mod raidz;
mod shape;
mod size;
pub(crate) mod sync;
pub mod uberblock;
mod write;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

pub use self::arithmetic::{TYPICAL_BYTES, deflated};
pub use self::config::{PoolConfig, PoolState, VdevConfig, VdevType};
use self::draid::{DistributedSpare, Family, Home};
use self::indirect::Mapping;
use self::missed::Missed;
use self::raidz::{Geometry, Map};
pub use self::shape::Shape;
pub use self::size::CutMember;
pub(crate) use self::size::MEMBER_BYTES_MIN;
use crate::blkptr::Dva;
use crate::device::Device;
use crate::error::{Error, Fault, Result};
use crate::ids::{Guid, Txg};

/// The offset of the allocatable space on a device, after two labels and the boot area.
pub const LEAF_DATA_START: u64 = 4 << 20;

/// The copies of a block that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// Only as many as are required for an intact one.
    AnyCopy,
    /// All, so that any damage is found.
    EveryCopy,
}

/// The kind of damage on a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DamageCause {
    /// The device returned an error.
    Unreadable,
    /// The content does not match the checksum or the other copies.
    Wrong,
}

/// A range of a device with a corrupt or unreadable part of a block.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Damage {
    /// The path or name of the member.
    pub vdev: String,
    /// The guid of the member.
    pub guid: Guid,
    /// The byte offset on the device.
    pub offset: u64,
    /// The length in bytes.
    pub len: u64,
    /// The kind of damage.
    pub cause: DamageCause,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cause = match self.cause {
            DamageCause::Unreadable => "unreadable",
            DamageCause::Wrong => "corrupt",
        };
        write!(f, "{} bytes at offset {:#x} of {} are {cause}", self.len, self.offset, self.vdev)
    }
}

/// A verification of candidate content.
pub type Verify<'a> = dyn Fn(&[u8]) -> Result<()> + 'a;

/// The parameters of a read, and the damage that it found.
#[non_exhaustive]
pub struct Reading<'a> {
    /// The verification, which accepts intact content.
    pub verify: &'a Verify<'a>,
    /// The copies to read.
    pub effort: Effort,
    /// The damaged ranges.
    pub damage: Vec<Damage>,
}

impl<'a> Reading<'a> {
    /// Creates the parameters of a read that continues until `verify` succeeds.
    pub fn new(verify: &'a Verify<'a>, effort: Effort) -> Self {
        Self { verify, effort, damage: Vec::new() }
    }
}

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

/// All top-level vdevs of a pool.
#[derive(Debug)]
pub struct VdevTree {
    guid: Guid,
    tops: Vec<Vdev>,
}

impl VdevTree {
    /// Builds the tree of the top-level vdevs `tops`, in the order of their ids, with their devices. `reflowed_to` is
    /// the progress of a raidz expansion in bytes of the vdev.
    ///
    /// # Errors
    /// Fails if the tree has a vdev that zstream cannot read; the error has its name.
    pub fn build(
        guid: Guid,
        tops: &[VdevConfig],
        members: &HashMap<Guid, Member>,
        reflowed_to: u64,
    ) -> Result<Self> {
        let found = Found { members, reflowed_to };
        let tops =
            tops.iter().map(|top| Vdev::build(top, &found, &Home::default())).collect::<Result<_>>()?;
        Ok(Self { guid, tops })
    }

    /// Returns the guid of the root vdev, which is that of the pool.
    #[must_use]
    pub fn guid(&self) -> Guid {
        self.guid
    }

    /// Returns the top-level vdevs.
    #[must_use]
    pub fn tops(&self) -> &[Vdev] {
        &self.tops
    }

    /// Returns the state of the worst top-level vdev. A missing log device counts only as degraded.
    #[must_use]
    pub fn state(&self) -> VdevState {
        let state =
            |top: &Vdev| if top.config.is_log { top.state().min(VdevState::Degraded) } else { top.state() };
        self.tops.iter().map(state).max().unwrap_or(VdevState::Unavailable)
    }

    /// Returns the top-level vdevs that cannot be read, except log devices.
    pub fn lost(&self) -> impl Iterator<Item = &Vdev> {
        self.tops.iter().filter(|top| !top.is_available() && !top.config.is_log)
    }

    /// Sets the mapping of an indirect vdev. Only the first one is used.
    ///
    /// # Errors
    /// Fails if there is no indirect vdev with that id.
    pub(crate) fn set_mapping(&self, vdev: u64, mapping: Mapping) -> Result<()> {
        match self.tops.get(vdev as usize).map(|top| &top.kind) {
            Some(Kind::Indirect(place)) => {
                let _ = place.set(mapping);
                Ok(())
            }
            None
            | Some(
                Kind::Leaf(_)
                | Kind::Mirror(_)
                | Kind::Raidz(..)
                | Kind::Draid(_)
                | Kind::DraidSpare(_)
                | Kind::Nothing,
            ) => Err(Error::corrupt("mapping", format!("vdev {vdev} is not indirect"))),
        }
    }

    /// Reads `out.len()` bytes at `dva` that pass the verification. `birth` is the physical birth of the block.
    ///
    /// # Errors
    /// Fails if the address is not on a vdev, and if no copy or reconstruction passes.
    pub fn read(&self, dva: Dva, birth: Txg, out: &mut [u8], reading: &mut Reading<'_>) -> Result<()> {
        self.read_range(dva, birth, out, reading).map_err(|error| error.at_address(dva))
    }

    fn read_range(&self, dva: Dva, birth: Txg, out: &mut [u8], reading: &mut Reading<'_>) -> Result<()> {
        let (top, offset) = self.locate(dva, out.len() as u64)?;
        match &top.kind {
            Kind::Indirect(mapping) => {
                let Some(mapping) = mapping.get() else {
                    return Err(Fault::NoMapping(dva.vdev()).into());
                };
                indirect::Place { tree: self, mapping, offset, birth: birth.0 }.read(out, reading)
            }
            Kind::Leaf(_)
            | Kind::Mirror(_)
            | Kind::Raidz(..)
            | Kind::Draid(_)
            | Kind::DraidSpare(_)
            | Kind::Nothing => top.read(offset, birth.0, out, reading),
        }
    }

    /// Returns the vdev and byte offset of an address, of which the first `len` bytes are requested.
    fn locate(&self, dva: Dva, len: u64) -> Result<(&Vdev, u64)> {
        let bad = |detail: String| Error::corrupt("block address", detail);
        let top = self.tops.get(dva.vdev() as usize);
        let top = top.ok_or_else(|| {
            bad(format!("address is on vdev {} of a pool with {} vdevs", dva.vdev(), self.tops.len()))
        })?;
        let end =
            dva.offset_sectors().checked_mul(crate::blkptr::SECTOR_BYTES).and_then(|at| at.checked_add(len));
        let end = end.ok_or_else(|| bad(format!("sector {:#x} is too large", dva.offset_sectors())))?;
        match top.config.asize {
            Some(asize) if end > asize => {
                Err(bad(format!("range ends at {end:#x}, but {} ends at {asize:#x}", top.name)))
            }
            // No vdev of OpenZFS is so large that it requires the upper bits, and later code adds to offsets.
            _ if end > i64::MAX as u64 => Err(bad(format!("range ends at {end:#x}, which is too large"))),
            _ if !(end - len).is_multiple_of(top.config.kind.block_alignment()) => {
                let unit = top.config.kind.block_alignment();
                Err(bad(format!("offset {:#x} on {} is not a multiple of {unit}", end - len, top.name)))
            }
            _ => Ok((top, end - len)),
        }
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
