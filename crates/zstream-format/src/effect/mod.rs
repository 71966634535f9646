//! Effects of records on objects: the rules that receivers follow (`dmu_recv.c`), for all who replay a stream.
//!
//! A record is applied to an object in the state that earlier records left it in. The functions here are pure: they are given
//! the record's fields and the object's state, and return the change. Receiving a stream and viewing it where it lies follow the
//! same rules, since both take them from here.
//!
//! ```text
//! OBJECT            of an object that exists: kept, emptied, or made anew       object
//! SPILL             stored, or left out because it repeats what is there        spill
//! WRITE_EMBEDDED    a block of the object, or its spill block in disguise       is_disguised_spill
//! WRITE, FREE       the highest block afterwards                                last_block_written, last_block_freed
//! ```

mod data;
mod object;

pub use self::data::{SpillEffect, is_disguised_spill, last_block_freed, last_block_written, spill};
pub use self::object::{Change, NoGeneration, Present, object, pointer_count};
