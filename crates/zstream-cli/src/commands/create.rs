//! `zstream create`: filesystems and volumes, as `zfs create` makes them.

use std::collections::HashSet;

use zstream_dmu::error::Error;
use zstream_dmu::ids::ObjectId;
use zstream_dmu::object_set::ObjectSet as _;
use zstream_dmu::vdev::config::VdevType;
use zstream_dmu::zap::{NormFlags, Value, Zap};
use zstream_dsl::prop::parse::{Parsed, parse_assignment, parse_bytes};
use zstream_dsl::prop::table::Types;
use zstream_dsl::write::{Setting, WritablePool};
use zstream_format::object_type::ObjsetType;
use zstream_zpl::create::{NewFilesystem, create_filesystem, create_volume};

use super::create_keys::Wanted;
use crate::change::{change, try_change};
use crate::failure::Failure;
use crate::pool::PoolOptions;

/// Block size of a volume unless told otherwise, in bytes (`ZVOL_DEFAULT_BLOCKSIZE`).
const VOLUME_BLOCK_BYTES: u64 = 16 << 10;
/// The object of a filesystem that says what is fixed at its creation.
const MASTER_NODE: ObjectId = ObjectId(1);
/// A block of ordinary size, for which a pool's space is counted, in bytes.
const TYPICAL_BLOCK_BYTES: u64 = 128 << 10;
/// Pointers in an indirect block of 128 KiB, and the size of that.
const POINTERS_PER_BLOCK: u64 = 1024;
const INDIRECT_BYTES: u64 = 128 << 10;

/// The options of `zstream create`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Make what is missing above it too, and be content if it is there
    #[arg(short = 'p')]
    parents: bool,
    /// Say what would be made, and make nothing
    #[arg(short = 'n')]
    dry_run: bool,
    /// Say what is made
    #[arg(short = 'v')]
    verbose: bool,
    /// With -n or -v: words separated by tabs, for programs
    #[arg(short = 'P')]
    parsable: bool,
    /// Do not mount it: nothing is ever mounted here
    #[arg(short = 'u')]
    unmounted: bool,
    /// Set a property; may be given several times
    #[arg(short = 'o', value_name = "PROPERTY=VALUE")]
    properties: Vec<String>,
    /// Make a volume of this size instead of a filesystem; it is made a multiple of its block size
    #[arg(short = 'V', value_name = "SIZE")]
    volume: Option<String>,
    /// Block size of the volume: the property volblocksize
    #[arg(short = 'b', value_name = "SIZE", requires = "volume")]
    block_size: Option<String>,
    /// A sparse volume: reserve nothing for it
    #[arg(short = 's', requires = "volume")]
    sparse: bool,
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,
}

/// What is to be made, before the pool is touched.
struct Plan {
    properties: Vec<Parsed>,
    volume: Option<(u64, u64)>,
}

impl Args {
    pub(crate) fn run(&self, options: &PoolOptions) -> Result<(), Failure> {
        let plan = self.plan().map_err(Failure::usage)?;
        let make = |pool: &mut WritablePool| self.make(pool, &plan, options);
        let made = if self.dry_run {
            try_change(options, &self.name, make)?
        } else {
            change(options, &self.name, make)?
        };
        if self.dry_run || self.verbose {
            self.tell(&made, &plan);
        }
        Ok(())
    }

    fn tell(&self, made: &[String], plan: &Plan) {
        for name in made {
            match (self.parsable, self.dry_run) {
                (true, _) => println!("create\t{name}"),
                (false, true) => println!("would create {name}"),
                (false, false) => println!("create {name}"),
            }
        }
        for parsed in plan.properties.iter().filter(|parsed| parsed.name != "volblocksize") {
            let value = parsed.value.text().map(str::to_owned);
            let value =
                value.or_else(|_| parsed.value.u64().map(|number| number.to_string())).unwrap_or_default();
            let separator = if self.parsable { "\t" } else { "=" };
            let start = if self.parsable { "property\t" } else { "\t" };
            println!("{start}{}{separator}{value}", parsed.name);
        }
    }

    fn plan(&self) -> Result<Plan, Error> {
        check_once(&self.properties)?;
        let mut properties =
            self.properties.iter().map(|text| parse_assignment(text)).collect::<Result<Vec<_>, _>>()?;
        let Some(size) = &self.volume else { return Ok(Plan { properties, volume: None }) };
        let bad = |what: &str, text: &str| Error::invalid(format!("bad {what} {text:?}"));
        let size = parse_bytes(size).filter(|size| *size > 0).ok_or_else(|| bad("volume size", size))?;
        if let Some(block) = &self.block_size {
            properties.push(zstream_dsl::prop::parse::parse("volblocksize", block)?);
        }
        let block = properties.iter().rfind(|parsed| parsed.name == "volblocksize");
        let block = block.map_or(Ok(VOLUME_BLOCK_BYTES), |parsed| parsed.value.u64())?;
        properties.retain(|parsed| parsed.name != "volsize");
        let size = size.checked_next_multiple_of(block).ok_or_else(|| bad("volume size", "of 16 EiB"))?;
        Ok(Plan { properties, volume: Some((size, block)) })
    }

    /// Makes it, with what is missing above, and gives the names of what was made.
    fn make(
        &self,
        pool: &mut WritablePool,
        plan: &Plan,
        options: &PoolOptions,
    ) -> Result<Vec<String>, Failure> {
        let mut made = Vec::new();
        if self.parents {
            if pool.tx().dir_named(&self.name)?.is_some() {
                return Ok(made);
            }
            made = create_parents(pool, &self.name, options)?;
        }
        create(pool, &self.name, &plan.properties, plan.volume, self.sparse, options)?;
        made.push(self.name.clone());
        Ok(made)
    }
}

/// Refuses a property that is given twice by the same name, as `zfs` does.
pub(super) fn check_once(assignments: &[String]) -> Result<(), Error> {
    let mut seen = HashSet::new();
    for text in assignments {
        let name = text.split('=').next().unwrap_or_default();
        if !seen.insert(name) {
            return Err(Error::invalid(format!("property '{name}' specified multiple times")));
        }
    }
    Ok(())
}

/// Makes the filesystems above a name that are missing, and gives their names.
pub(super) fn create_parents(
    pool: &mut WritablePool,
    name: &str,
    options: &PoolOptions,
) -> Result<Vec<String>, Failure> {
    let mut made = Vec::new();
    for above in name.match_indices('/').filter_map(|(end, _)| name.get(..end)) {
        if pool.tx().dir_named(above)?.is_none() {
            create(pool, above, &[], None, true, options)?;
            made.push(above.to_owned());
        }
    }
    Ok(made)
}

/// Makes a filesystem, or a volume of so many bytes in blocks of so many.
fn create(
    pool: &mut WritablePool,
    name: &str,
    properties: &[Parsed],
    volume: Option<(u64, u64)>,
    sparse: bool,
    options: &PoolOptions,
) -> Result<(), Failure> {
    let types = if volume.is_some() { Types::VOLUME } else { Types::FILESYSTEM };
    let mut filesystem = NewFilesystem { time: (pool.pool().now(), 0), ..NewFilesystem::default() };
    if volume.is_none() {
        inherit_fixed(pool, name, &mut filesystem)?;
    }
    let (mut kept, mut keys) = (Vec::new(), Wanted::default());
    for parsed in properties {
        pool.tx().check_assignment(parsed, types, true)?;
        let number = parsed.value.u64().unwrap_or_default();
        match parsed.name.as_str() {
            "normalization" => filesystem.normalization = NormFlags::from_bits_retain(number),
            "utf8only" => filesystem.utf8_only = number != 0,
            "casesensitivity" => filesystem.case = number,
            // It was checked; the volume's content has it.
            "volblocksize" => {}
            _ if keys.take(parsed) => {}
            _ => kept.push(parsed),
        }
    }
    filesystem.utf8_only |= !filesystem.normalization.is_empty();
    let encryption = keys.decide(pool, name, options)?;
    let head = pool.tx().create(name, volume.is_none() && filesystem.case != 0)?;
    if let Some(encryption) = encryption {
        encryption.apply(pool, head)?;
    }
    for parsed in &kept {
        pool.tx().set_property(head, &parsed.name, &Setting::Local(parsed.value.clone()))?;
    }
    let mut set = pool.create_set(head, if volume.is_some() { ObjsetType::ZVOL } else { ObjsetType::ZFS })?;
    match volume {
        Some((size, block)) => create_volume(&mut set, size, block as u32, &mut || pool.tx().random())?,
        None => create_filesystem(&mut set, &filesystem, &mut || pool.tx().random()).map(drop)?,
    }
    pool.sync(head, &mut set)?;
    let is_reserved = kept.iter().any(|parsed| parsed.name == "refreservation");
    if let Some((size, block)) = volume.filter(|_| !sparse && !is_reserved) {
        let copies = pool.tx().set_properties(head)?.copies;
        let bytes = volume_reservation(pool, size, block, u64::from(copies));
        pool.tx().set_property(head, "refreservation", &Setting::Local(Value::word(bytes)))?;
    }
    Ok(())
}

/// Takes over what is fixed at creation from the filesystem above (`zfs_fill_zplprops`).
fn inherit_fixed(pool: &mut WritablePool, name: &str, new: &mut NewFilesystem) -> Result<(), Error> {
    let Some((parent, _)) = name.rsplit_once('/') else { return Ok(()) };
    let tx = pool.tx();
    let Some(dir) = tx.dir_named(parent)? else { return Ok(()) };
    let Some(head) = tx.dir(dir)?.head else { return Ok(()) };
    let set = tx.objset(head)?;
    // The root filesystem of a pool may be without content.
    if set.objset_type() != ObjsetType::ZFS || set.next_object(MASTER_NODE)? != Some(MASTER_NODE) {
        return Ok(());
    }
    let above = Zap::open(&set, MASTER_NODE)?;
    let number = |name: &str| Ok::<_, Error>(above.lookup_u64(name)?.unwrap_or_default());
    new.normalization = NormFlags::from_bits_retain(number("normalization")?);
    new.utf8_only = number("utf8only")? != 0;
    new.case = number("casesensitivity")?;
    Ok(())
}

/// What is reserved so that a volume can be written to its end: its data, with what raidz adds for small blocks, and its
/// metadata (`zvol_volsize_to_reservation`).
pub(super) fn volume_reservation(pool: &WritablePool, size: u64, block: u64, copies: u64) -> u64 {
    let blocks = size / block;
    let data = pool
        .pool()
        .vdevs()
        .tops()
        .iter()
        .filter_map(|top| match &top.config().kind {
            VdevType::Raidz(geometry) => {
                let typical = geometry.asize(TYPICAL_BLOCK_BYTES, geometry.children) >> 9;
                let all = blocks.checked_mul(geometry.asize(block, geometry.children))?;
                Some(all.checked_div(typical)?.saturating_mul(TYPICAL_BLOCK_BYTES >> 9))
            }
            _ => None,
        })
        .max()
        .unwrap_or(size);
    let (mut left, mut metadata) = (blocks, 7);
    while left > 1 {
        left = left.div_ceil(POINTERS_PER_BLOCK);
        metadata += left;
    }
    let metadata = metadata * (copies + 1).min(3) * INDIRECT_BYTES;
    data.saturating_mul(copies).saturating_add(metadata)
}
