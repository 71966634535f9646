//! Effects of records on objects: the rules that receivers follow (`dmu_recv.c`), for everything that replays a stream.
//!
//! A record is applied to an object in the state that earlier records left it in. The functions here are pure: they take
//! the fields of the record and the state of the object, and return the change. Receives and views of streams both use
//! them, so they follow the same rules.
//!
//! ```text
//! OBJECT            of an existing object: kept, emptied or recreated           object
//! SPILL             stored, or ignored because it repeats an existing block     spill
//! WRITE_EMBEDDED    a block of the object, or its spill block in disguise       is_disguised_spill
//! WRITE, FREE       the highest block afterwards                                last_block_written, last_block_freed
//! ```

mod data;
mod object;

pub use self::data::{SpillEffect, is_disguised_spill, last_block_freed, last_block_written, spill};
pub use self::object::{Change, NoGeneration, Present, object, pointer_count};
