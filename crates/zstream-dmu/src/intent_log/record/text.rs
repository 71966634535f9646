//! The description of a record in one line.

use std::fmt;

use super::{Change, Content, Created, CreatedKind, Record};

fn shown(name: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(name))
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number, self.kind.name())?;
        match &self.change {
            Change::Create(created) => {
                let Created { directory, node, name, target, .. } = &**created;
                write!(f, " object {} mode {:o} directory {directory}", node.object, node.mode)?;
                if created.kind != CreatedKind::XattrDirectory {
                    write!(f, " name {}", shown(name))?;
                }
                if created.kind == CreatedKind::Symlink {
                    write!(f, " target {}", shown(target))?;
                }
                Ok(())
            }
            Change::Remove { directory, name } => write!(f, " directory {directory} name {}", shown(name)),
            Change::Link { directory, object, name } => {
                write!(f, " object {object} directory {directory} name {}", shown(name))
            }
            Change::Rename { from, from_name, to, to_name, .. } => {
                let names = (shown(from_name), shown(to_name));
                write!(f, " directory {from} name {} to directory {to} name {}", names.0, names.1)
            }
            Change::Write { object, offset, len, content } => {
                write!(f, " object {object} offset {offset} length {len}")?;
                match content {
                    Content::Block(pointer) => write!(f, " block {pointer}"),
                    Content::Inline(_) => Ok(()),
                }
            }
            Change::Extend { object, offset, len } | Change::Truncate { object, offset, len } => {
                write!(f, " object {object} offset {offset} length {len}")
            }
            Change::SetAttributes(set) => write!(f, " object {} mask {:#x}", set.object, set.mask),
            Change::SetXattr { object, name, value } => {
                let bytes = value.as_ref().map_or(0, Vec::len);
                write!(f, " object {object} name {} length {bytes}", shown(name))
            }
            Change::SetAcl { object, count } => write!(f, " object {object} entries {count}"),
            Change::Clone { object, offset, len, pointers, .. } => {
                write!(f, " object {object} offset {offset} length {len} blocks {}", pointers.len())
            }
        }
    }
}
