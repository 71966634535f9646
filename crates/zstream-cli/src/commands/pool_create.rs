//! `zstream pool create`.

use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{self, Path, PathBuf};
use std::sync::Arc;

use zstream_dmu::device::{Device, FileDevice};
use zstream_dmu::error::Error;
use zstream_dmu::host::Host;
use zstream_dmu::pool::create::{ASHIFT_DEFAULT, NewMember, NewPool};
use zstream_dmu::pool::history::Event;
use zstream_dmu::pool::layout::member_asize;
use zstream_dmu::pool::properties::PoolProperties;
use zstream_dmu::pool::spec::{TopSpec, check_name, check_redundancy, parse_vdevs};
use zstream_dmu::random::Random;
use zstream_dmu::vdev::label::{Labels, Role};
use zstream_dmu::zap::NormFlags;
use zstream_dsl::prop::parse::{Parsed, parse_assignment, parse_bytes};
use zstream_dsl::write::{Setting, WritablePool};
use zstream_format::object_type::ObjsetType;
use zstream_zpl::create::{NewFilesystem, create_filesystem};

use super::create_keys::Wanted;
use crate::failure::Failure;
use crate::pool::PoolOptions;

/// The arguments of `zstream pool create`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Use files and disks although they belong to a pool, and vdevs of different redundancy
    #[arg(short)]
    force: bool,
    /// Say what would be made, and make nothing
    #[arg(short = 'n')]
    dry_run: bool,
    /// Enable no features but those that are named
    #[arg(short = 'd')]
    without_features: bool,
    /// Set a property of the pool: ashift, autoexpand, autoreplace, autotrim, comment, compatibility, delegation,
    /// failmode, feature@NAME, listsnapshots
    ///
    /// Without `ashift` sectors have 4 KiB, so that an image can be copied to any disk. Without `compatibility` and
    /// `feature@...` the pool has every feature that zstream keeps right and that OpenZFS 2.1 can do without.
    #[arg(short = 'o', value_name = "PROPERTY=VALUE")]
    properties: Vec<String>,
    /// Set a property of the root filesystem
    #[arg(short = 'O', value_name = "PROPERTY=VALUE")]
    filesystem_properties: Vec<String>,
    /// Where the root filesystem is mounted: -O mountpoint=PATH
    #[arg(short = 'm', value_name = "PATH")]
    mountpoint: Option<String>,
    /// Make files of this size, which take room only as they are filled: 1G, 512M
    #[arg(long, value_name = "SIZE")]
    size: Option<String>,
    /// Take guids and salts from this number: the same steps make the same image
    #[arg(long, value_name = "NUMBER")]
    guid_seed: Option<u64>,
    /// Note this time, in seconds since 1970, instead of now
    #[arg(long, value_name = "SECONDS")]
    timestamp: Option<u64>,
    /// Name of the pool
    #[arg(value_name = "NAME")]
    name: String,
    /// Files and disks, and what they make up: mirror, raidz1, raidz2, raidz3, special, dedup, log
    #[arg(value_name = "VDEV", required = true)]
    vdevs: Vec<String>,
}

/// Everything that was asked for, before anything is touched.
struct Plan {
    tops: Vec<TopSpec<String>>,
    size: Option<u64>,
    properties: PoolProperties,
    filesystem: NewFilesystem,
    settings: Vec<Parsed>,
    keys: Wanted,
}

impl Args {
    pub(crate) fn run(&self, options: &PoolOptions) -> Result<(), Failure> {
        let plan = self.plan().map_err(Failure::usage)?;
        if self.dry_run {
            for top in &plan.tops {
                let class = top.class.bias().map(|class| format!("{class} ")).unwrap_or_default();
                println!("{class}{} {}", top.shape, top.leaves.join(" "));
            }
            return Ok(());
        }
        let mut made = Vec::new();
        let result = self.create(plan, options, &mut made);
        if result.is_err() {
            for path in made {
                // What was made here and is of no use; the first error is the one that counts.
                let _ = fs::remove_file(path);
            }
        }
        result
    }

    fn plan(&self) -> Result<Plan, Error> {
        check_name(&self.name)?;
        let tops = parse_vdevs(&self.vdevs)?;
        if !self.force {
            check_redundancy(&tops)
                .map_err(|error| Error::invalid(format!("{error}; use -f to make it all the same")))?;
        }
        let size = self.size.as_deref().map(|text| {
            let bytes = parse_bytes(text).ok_or_else(|| Error::invalid(format!("{text:?} is no size")))?;
            member_asize(bytes).map(|_| bytes)
        });
        let properties = PoolProperties::parse(&self.properties, self.without_features)?;
        let mountpoint = self.mountpoint.as_ref().map(|path| format!("mountpoint={path}"));
        let settings = self.filesystem_properties.iter().chain(&mountpoint);
        let settings = settings.map(|text| parse_assignment(text)).collect::<Result<Vec<_>, _>>()?;
        let mut filesystem = NewFilesystem::default();
        let (mut kept, mut keys) = (Vec::new(), Wanted::default());
        for setting in settings {
            let number = setting.value.u64().unwrap_or_default();
            match setting.name.as_str() {
                "normalization" => filesystem.normalization = NormFlags::from_bits_retain(number),
                "utf8only" => filesystem.utf8_only = number != 0,
                "casesensitivity" => filesystem.case = number,
                _ if keys.take(&setting) => {}
                _ if setting.property.is_some_and(|property| property.set_once) => {
                    return Err(Error::unsupported(format!("{} of a new pool's filesystem", setting.name)));
                }
                _ => kept.push(setting),
            }
        }
        // Names that are normalized have to be text.
        filesystem.utf8_only |= !filesystem.normalization.is_empty();
        Ok(Plan { tops, size: size.transpose()?, properties, filesystem, settings: kept, keys })
    }

    fn create(&self, plan: Plan, options: &PoolOptions, made: &mut Vec<PathBuf>) -> Result<(), Failure> {
        let mut open = |path: String| self.open(&path, plan.size, made);
        let tops = plan.tops.into_iter().map(|top| top.try_map(&mut open)).collect::<Result<_, _>>()?;
        let PoolProperties { ashift, comment, compatibility, stored, features } = plan.properties;
        let random = match self.guid_seed {
            Some(seed) => Random::from_seed(seed),
            None => Random::system().map_err(Error::from)?,
        };
        let new = NewPool {
            name: self.name.clone(),
            tops,
            ashift: ashift.unwrap_or(ASHIFT_DEFAULT),
            features,
            properties: stored,
            comment,
            compatibility,
            host: Host::this(),
            now: self.timestamp,
            random,
        };
        let (mut pool, first) = WritablePool::create(new, self.guid_seed)?;
        if let Some(encryption) = plan.keys.decide(&mut pool, &self.name, options)? {
            encryption.apply(&mut pool, first.root)?;
        }
        for setting in plan.settings {
            pool.tx().set_property(first.root, &setting.name, &Setting::Local(setting.value))?;
        }
        let filesystem = NewFilesystem { time: (pool.pool().now(), 0), ..plan.filesystem };
        let mut set = pool.create_set(first.root, ObjsetType::ZFS)?;
        create_filesystem(&mut set, &filesystem, &mut || pool.tx().random())?;
        pool.sync(first.root, &mut set)?;
        let line: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
        pool.log(Event::Command(&line.join(" ")))?;
        pool.export()?;
        Ok(())
    }

    /// Opens a member, which is made where there is none.
    fn open(&self, path: &str, size: Option<u64>, made: &mut Vec<PathBuf>) -> Result<NewMember, Error> {
        let place = |error: Error| error.on_vdev(path);
        let absolute = path::absolute(path).map_err(|error| place(error.into()))?;
        let text = absolute.to_str().ok_or_else(|| place(Error::invalid("a path that is not UTF-8")))?;
        let text = text.to_owned();
        let is_disk = fs::metadata(&absolute).is_ok_and(|data| data.file_type().is_block_device());
        let device = match size {
            Some(_) if is_disk => {
                return Err(place(Error::invalid("a disk has its size; leave out --size")));
            }
            Some(bytes) => {
                let is_there = absolute.exists();
                if is_there && !self.force {
                    return Err(place(Error::invalid("the file is there already; use -f to replace it")));
                }
                let device = FileDevice::create(&absolute, bytes, self.force);
                if !is_there && device.is_ok() {
                    made.push(absolute);
                }
                device.map_err(|error| place(error.into()))?
            }
            None if !absolute.exists() => {
                return Err(place(Error::invalid("there is no such file; --size makes one")));
            }
            None => self.open_existing(&absolute).map_err(place)?,
        };
        Ok(NewMember { path: text, is_disk, device: Arc::new(device) })
    }

    /// Opens what is there, unless it is part of a pool.
    fn open_existing(&self, path: &Path) -> Result<FileDevice, Error> {
        let device = FileDevice::open_writable(path)?;
        if self.force || device.is_empty() {
            return Ok(device);
        }
        let labels = Labels::read(&device);
        let Some(label) = labels.best(None) else { return Ok(device) };
        let what = match &label.role {
            Role::Member(config) => format!("part of {} pool '{}'", config.state, config.name),
            Role::Auxiliary { state, .. } => format!("a {state} device of a pool"),
        };
        Err(Error::invalid(format!("it is {what}; use -f to take it all the same")))
    }
}
