//! The creation of a pool (`spa_create`).
//!
//! This module creates everything in a pool except the datasets. The layer above receives the pool open in its first
//! transaction group, creates the datasets, and commits. Before this commit the devices have labels but no uberblock,
//! so they are not recognized as a pool.
//!
//! ```text
//! object                                content
//! 1                                     the MOS's directory
//! 32 ..                                  for each vdev a metaslab array and ZAPs of properties, in the order of the
//! tree
//!    features_for_read, features_for_write, feature_descriptions [feature_enabled_txg]
//!    vdev_zap_map                        lists the ZAPs of vdevs
//!    history, config, sync_bplist [pool_props]
//! ```

mod mos;
mod plan;

use std::sync::Arc;

use zstream_format::checksum::Salt;
use zstream_format::object_type::ObjsetType;
use zstream_format::order::ByteOrder;

use self::mos::{check_features, fill_mos};
use self::plan::plan;
use super::VERSIONS;
use super::absent::Absent;
use super::history::Event;
use super::maintained::FeatureSet;
use super::spec::{TopSpec, check_name};
use super::writer::{PoolWriter, mos_properties};
use crate::blkptr::BlockPointer;
use crate::block::ReadBlock;
use crate::cache;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::ids::Txg;
use crate::objset::writer::ObjsetWriter;
use crate::random::Random;
use crate::space::{Allocator, MapForm};
use crate::vdev::VdevTree;
use crate::vdev::config::{ASHIFT_RANGE, VdevConfig};
use crate::vdev::sync::PoolLabels;
use crate::vdev::uberblock::{self, MMP_MAGIC, Uberblock, UberblockPhys};
use crate::zio::large_headers::{self, LargeHeaders};
use crate::zio::write::WriteBlock;
use crate::zio::{BlockReader, BlockWriter, WriterSettings};

/// The first transaction group of a pool (`TXG_INITIAL`).
pub(crate) const TXG_INITIAL: Txg = Txg(4);

/// The default sector size of new pools: 4 KiB, so that an image can be copied to any disk.
pub const ASHIFT_DEFAULT: u8 = 12;

/// A device that will become a member.
#[derive(Clone, Debug)]
pub struct NewMember {
    /// The absolute path.
    pub path: String,
    /// Whether it is a disk, or otherwise a file.
    pub is_disk: bool,
    /// The device, open for writing.
    pub device: Arc<dyn Device>,
}

/// The parameters of a new pool.
#[derive(Debug)]
pub struct NewPool {
    /// The name.
    pub name: String,
    /// The top-level vdevs.
    pub tops: Vec<TopSpec<NewMember>>,
    /// The logarithm of the sector size, 9 to 16.
    pub ashift: u8,
    /// The features.
    pub features: FeatureSet,
    /// The properties that are stored in the MOS, by name, as numbers, such as `failmode` and `autotrim`.
    pub properties: Vec<(String, u64)>,
    /// The property `comment`.
    pub comment: Option<String>,
    /// The property `compatibility`: the names of the sets of `features`.
    pub compatibility: Option<String>,
    /// The host that creates the pool.
    pub host: Host,
    /// The time to record for all events in seconds since 1970, instead of the current time.
    pub now: Option<u64>,
    /// The source of guids and salts.
    pub random: Random,
}

impl PoolWriter {
    /// Creates a pool on these devices and opens it in its first transaction group. Datasets must be created before
    /// this group is committed, which writes the first uberblock. The previous content of the devices is lost
    /// immediately.
    ///
    /// # Errors
    /// Fails if the name, a vdev or the sector size is invalid, and if a device is too small or fails.
    pub fn create(new: NewPool) -> Result<Self> {
        check_name(&new.name)?;
        if !ASHIFT_RANGE.contains(&u64::from(new.ashift)) {
            return Err(Error::bad_request(format!("ashift is {}, expected {ASHIFT_RANGE:?}", new.ashift)));
        }
        check_features(&new)?;
        let plan = plan(&new)?;
        let tree = plan.config.get_list("vdev_tree").map(VdevConfig::parse).transpose()?;
        let tree = tree.ok_or_else(|| Error::bad_request("pool has no vdevs"))?;
        let vdevs = Arc::new(VdevTree::build(tree.guid, &tree.children, &plan.members, 0)?);
        let reader = Arc::new(BlockReader::new(vdevs, cache::DEFAULT_BYTES, None));
        let mut salt = [0; Salt::SIZE];
        new.random.fill(&mut salt)?;
        reader.set_salt(Salt::new(salt));
        let form = MapForm {
            two_words: new.features.contains("spacemap_v2"),
            histogram: new.features.contains("spacemap_histogram"),
        };
        let space = Arc::new(Allocator::create(Arc::clone(&reader), &plan.spaces, form, TXG_INITIAL)?);
        let large_headers = Arc::new(LargeHeaders::of(new.features.contains(large_headers::FEATURE), false));
        let settings = WriterSettings {
            salt: Some(Salt::new(salt)),
            hole_birth: new.features.contains("hole_birth"),
            embedded_data: new.features.contains("embedded_data"),
            large_headers: Arc::clone(&large_headers),
            #[cfg(any(test, feature = "testing"))]
            whole_max: None,
            #[cfg(any(test, feature = "testing"))]
            is_uncompressed: false,
        };
        let writer: Arc<dyn WriteBlock> = Arc::new(BlockWriter::new(Arc::clone(&space) as _, settings));
        let labels = PoolLabels::new(Arc::clone(reader.vdevs()));
        labels.initialize(&plan.config)?;
        let properties = mos_properties(new.features.contains("lz4_compress"));
        let mut mos = ObjsetWriter::create(
            Arc::clone(&reader) as Arc<dyn ReadBlock>,
            Arc::clone(&writer),
            0,
            ObjsetType::META,
            properties,
        )?;
        let room = space.space_use().room;
        let config_object = fill_mos(&mut mos, &new, &plan, &salt, room.normal)?;
        let mut pool = Self {
            reader,
            space,
            writer,
            mos,
            labels,
            config_object,
            is_config_old: true,
            is_rehearsal: false,
            large_headers,
            absent: Absent::default(),
            unclaimed: Vec::new(),
            notices: Vec::new(),
            last: no_uberblock(&tree),
            host: new.host,
            now: new.now,
            config: plan.config,
        };
        let version =
            format!("pool version {}; software version zstream-{}", VERSIONS.2, env!("CARGO_PKG_VERSION"));
        pool.log(Event::Internal("create", &version))?;
        Ok(pool)
    }
}

/// Returns the state before the first uberblock.
fn no_uberblock(tree: &VdevConfig) -> Uberblock {
    let phys = UberblockPhys {
        magic: uberblock::MAGIC,
        version: VERSIONS.2,
        txg: Txg(TXG_INITIAL.0 - 1),
        guid_sum: tree.guid_sum(),
        timestamp: 0,
        root: BlockPointer::EMPTY,
        software_version: VERSIONS.2,
        mmp_magic: MMP_MAGIC,
        mmp_delay: 0,
        mmp_config: 0,
        checkpoint_txg: Txg(0),
        raidz_reflow_info: 0,
    };
    Uberblock { order: ByteOrder::Little, phys }
}
