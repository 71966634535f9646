//! The MOS, a pool's own object set: where its directory is, and which features the pool lists in it.

pub mod features;

pub use self::features::{Feature, FeatureState, Features};
use crate::ids::ObjectId;

/// The MOS's directory of objects (`DMU_POOL_DIRECTORY_OBJECT`).
pub const DIRECTORY_OBJECT: ObjectId = ObjectId(1);
