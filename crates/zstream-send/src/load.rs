//! Reading what ranges need, in any order and on any number of threads.

use std::sync::Arc;

use zstream_dmu::blkptr::{BlockPointer, CryptKind};
use zstream_dmu::ids::{BlockId, Bookmark, ObjectId};
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::objset::Objset;
use zstream_dmu::zio::{Block, ReadBlock};
use zstream_format::algorithm::{ChecksumType, CompressionType};
use zstream_format::checksum::Checksum;
use zstream_format::flags::FeatureFlags;
use zstream_format::fletcher::fletcher4;

use crate::form::{Form, ORDER};
use crate::range::{Range, What};

/// What a block that cannot be read is filled with: "zfs badd bloc".
const BAD_BLOCK: u64 = 0x2f5_badd_b10c;

/// A range with what is to be written for it.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) range: Range,
    /// The form of a block, none of other ranges.
    pub(crate) form: Option<Form>,
    pub(crate) content: Content,
}

/// The payload of a block.
#[derive(Debug)]
pub(crate) enum Content {
    /// There is none, or it was not read because only sizes are asked for.
    None,
    /// The bytes, and their sum where it is known already.
    Block { bytes: Block, sum: Option<Checksum> },
    /// It cannot be read; these bytes of a pattern take its place.
    Replaced { bytes: Block },
    /// It cannot be read.
    Failed(zstream_dmu::error::Error),
}

/// Reads blocks.
pub(crate) struct Loader {
    pub(crate) reader: Arc<dyn ReadBlock>,
    pub(crate) objset: u64,
    pub(crate) features: FeatureFlags,
    /// Whether what cannot be read is replaced.
    pub(crate) replace: bool,
    /// Whether blocks are read at all.
    pub(crate) dry: bool,
}

impl Loader {
    pub(crate) fn new(objset: &Objset, features: FeatureFlags, corrupt_data: bool, dry: bool) -> Self {
        Self {
            reader: objset.reader().clone(),
            objset: objset.objset_id(),
            features,
            replace: corrupt_data && !features.contains(FeatureFlags::RAW),
            dry,
        }
    }

    /// Bytes that loading a range takes.
    pub(crate) fn bytes(&self, range: &Range) -> u64 {
        match &range.what {
            What::Data { pointer, .. } if !self.dry => match Form::of(range, pointer, self.features) {
                Form::Embedded => 0,
                Form::Stored | Form::Compressed => pointer.psize(),
                Form::Logical | Form::Split => pointer.lsize(),
            },
            _ => 0,
        }
    }

    pub(crate) fn load(&self, range: Range) -> Loaded {
        let What::Data { pointer, .. } = &range.what else {
            return Loaded { range, form: None, content: Content::None };
        };
        let form = Form::of(&range, pointer, self.features);
        let content = if self.dry || form == Form::Embedded {
            Content::None
        } else {
            self.read(pointer, form, range.object, range.start)
        };
        Loaded { form: Some(form), content, range }
    }

    fn read(&self, pointer: &BlockPointer, form: Form, object: u64, block: u64) -> Content {
        let at = Bookmark { objset: self.objset, object: ObjectId(object), level: 0, block: BlockId(block) };
        let read = match form {
            Form::Stored => self.reader.read_stored(pointer, at),
            Form::Compressed => self.reader.read_compressed(pointer, at),
            _ => self.reader.read_once(pointer, at),
        };
        match read {
            Ok(bytes) if form == Form::Split => Content::Block { bytes, sum: None },
            Ok(bytes) => {
                let sum = known_sum(pointer, form, &bytes).unwrap_or_else(|| fletcher4(&bytes, ORDER));
                Content::Block { bytes, sum: Some(sum) }
            }
            Err(_) if self.replace => {
                let words = pointer.lsize() / 8;
                let bytes = (0..words).flat_map(|_| BAD_BLOCK.to_le_bytes()).collect();
                Content::Replaced { bytes }
            }
            Err(error) => Content::Failed(error),
        }
    }
}

/// The sum of the payload, where it is the one that the pointer holds and that was verified when the block was read.
fn known_sum(pointer: &BlockPointer, form: Form, bytes: &[u8]) -> Option<Checksum> {
    let is_stored = form == Form::Compressed || pointer.compression() == CompressionType::OFF;
    let is_known = is_stored
        && bytes.len() as u64 == pointer.psize()
        && pointer.checksum_type() == ChecksumType::FLETCHER_4
        && pointer.byte_order() == ORDER
        && pointer.crypt_kind() == CryptKind::Plain;
    is_known.then(|| Checksum(pointer.checksum()))
}
