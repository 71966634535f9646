//! The MOS, the object set of the pool itself: its object directory, and the features of the pool.

pub(crate) mod features;

pub use self::features::{FEATURES, Feature, FeatureState, Features};
use crate::ids::ObjectId;

/// The object directory of the MOS (`DMU_POOL_DIRECTORY_OBJECT`).
pub const DIRECTORY_OBJECT: ObjectId = ObjectId(1);
