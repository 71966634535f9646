//! Names of objects.

use zstream_format::order::ByteOrder;
use zstream_format::structure;

structure! {
    /// The identity of an immutable object, as it is stored.
    pub(crate) StoredId[24] {
        /// The generation that its writer was about to commit.
        generation: u64,
        /// The random number of its writer.
        writer: u64,
        /// Its number among the objects of its writer.
        number: u32,
        /// 0: a data object, 1: an object of the map.
        kind: u32,
    }
}

/// The kinds of immutable objects, and their folders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Bytes of the device.
    Data,
    /// A page of the map of addresses, or its root.
    Map,
}

impl Kind {
    /// All kinds.
    pub(crate) const ALL: [Self; 2] = [Self::Data, Self::Map];

    /// Returns the folder of its objects.
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Map => "map",
        }
    }
}

/// The identity of an immutable object: no other object has it, in any generation and of any writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ObjectId {
    /// The generation that its writer was about to commit.
    pub(crate) generation: u64,
    /// The random number of its writer.
    pub(crate) writer: u64,
    /// Its number among the objects of its writer.
    pub(crate) number: u32,
    /// Its kind.
    pub(crate) kind: Kind,
}

impl ObjectId {
    /// Returns the name of the object below the prefix of its pool.
    pub(crate) fn name(&self) -> String {
        let Self { generation, writer, number, kind } = self;
        format!("{}/{generation:016x}-{writer:016x}-{number:08x}", kind.folder())
    }

    /// Returns the object with a name in the folder of `kind`, if it is the name of one.
    pub(crate) fn of_name(kind: Kind, name: &str) -> Option<Self> {
        let mut parts = name.split('-');
        let mut part = |digits| {
            let part = parts.next()?;
            let is_hex = part.len() == digits && part.bytes().all(|byte| byte.is_ascii_hexdigit());
            is_hex.then(|| u64::from_str_radix(part, 16).ok())?
        };
        let (generation, writer, number) = (part(16)?, part(16)?, part(8)?);
        let id = Self { generation, writer, number: u32::try_from(number).ok()?, kind };
        // One name for each: no upper case, nothing after it.
        id.name().ends_with(&format!("/{name}")).then_some(id)
    }

    pub(super) fn stored(self) -> StoredId {
        let Self { generation, writer, number, kind } = self;
        StoredId { generation, writer, number, kind: u32::from(kind == Kind::Map) }
    }

    pub(super) fn parse(stored: StoredId) -> Option<Self> {
        let StoredId { generation, writer, number, kind } = stored;
        let kind = match kind {
            0 => Kind::Data,
            1 => Kind::Map,
            _ => return None,
        };
        Some(Self { generation, writer, number, kind })
    }

    pub(super) fn encode(self, out: &mut Vec<u8>) {
        out.extend(self.stored().to_bytes(ByteOrder::Little));
    }
}

/// Returns the name of the record of a generation. The names of newer generations sort before those of older ones.
pub(crate) fn generation_name(generation: u64) -> String {
    format!("gen/{:016x}", u64::MAX - generation)
}

/// Returns the generation with a name in the folder `gen`, if it is the name of one.
pub(crate) fn generation_of(name: &str) -> Option<u64> {
    let generation = u64::MAX - u64::from_str_radix(name, 16).ok()?;
    (generation_name(generation).strip_prefix("gen/") == Some(name)).then_some(generation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_no_others_are() {
        for kind in Kind::ALL {
            let id = ObjectId { generation: 7, writer: 0xfeed_beef_0000_0001, number: 0x1_0000, kind };
            let name = id.name();
            let name = name.strip_prefix(&format!("{}/", kind.folder())).unwrap();
            assert_eq!(ObjectId::of_name(kind, name), Some(id));
            assert_eq!(ObjectId::parse(id.stored()), Some(id));
            for bad in [&name[1..], &format!("{name}#1"), &name.to_uppercase(), "", "a-b-c", "+1-2-3"] {
                assert_eq!(ObjectId::of_name(kind, bad), None, "{bad}");
            }
        }
        assert_eq!(ObjectId::parse(StoredId { kind: 2, ..StoredId::default() }), None);
        assert_eq!(generation_name(1), "gen/fffffffffffffffe");
        assert!(generation_name(2) < generation_name(1), "the newest comes first");
        assert_eq!(generation_of("fffffffffffffffe"), Some(1));
        for bad in ["FFFFFFFFFFFFFFFE", "fffffffffffffffe#1", "1", "", "+fffffffffffffff"] {
            assert_eq!(generation_of(bad), None, "{bad}");
        }
    }
}
