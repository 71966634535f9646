//! Files of a dataset copied within its pool, by cloning their blocks where that is possible.

use std::sync::Arc;

use zstream_dmu::ids::{BlockId, ObjectId};
use zstream_dmu::object_set::ObjectSet as _;
use zstream_dmu::object_store::ObjectStore as _;
use zstream_dmu::objset::{CloneRange, Objset};
use zstream_zpl::Filesystem;
use zstream_zpl::error::{Error as FileError, Fault as FileFault};
use zstream_zpl::node::{FileType, Node};
use zstream_zpl::writer::{NewNode, NodeKind};

use super::files::Putting;
use super::{Put, Target, target};
use crate::control::{Control, Warning};
use crate::error::{Cause, PutFault, Result};
use crate::place::Keys;
use crate::place::keys::load_key;
use crate::place::source::{CHUNK_BYTES, parts};
use crate::text::file_name;

/// The number of blocks that are cloned between two checks whether the transaction group is full.
pub(super) const BLOCKS: u64 = 1 << 14;

/// The bytes for which a small cloned block counts, so that transaction groups have a limited number of blocks.
pub(super) const BLOCK_BYTES_MIN: u64 = 128 << 10;

/// The choice between cloned and copied blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reflink {
    /// Blocks are cloned, or the copy fails.
    Always,
    /// Blocks are cloned where that is possible, and copied otherwise, with a [`Warning::NotCloned`].
    #[default]
    Auto,
    /// Blocks are copied.
    Never,
}

/// The bytes of a file that were cloned and copied, holes included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Copied {
    /// Bytes in cloned blocks.
    pub cloned_bytes: u64,
    /// Bytes in copied blocks.
    pub copied_bytes: u64,
}

impl Put {
    /// Copies a file of the dataset `from` of the same pool, which may be a snapshot: `path` is its path there. If
    /// `into` is a directory, the file is copied into it; otherwise the copy gets that name. Mode, owner, times and
    /// extended attributes are preserved. An existing file is replaced.
    ///
    /// # Errors
    /// The file cannot be read; the copy cannot be written; with [`Reflink::Always`], a block cannot be cloned.
    pub fn copy(
        &mut self,
        from: &str,
        path: &[u8],
        into: &[u8],
        reflink: Reflink,
        keys: &dyn Keys,
        control: &mut Control<'_>,
    ) -> Result<Copied> {
        let (path, into) = (parts(path)?.join(&b'/'), parts(into)?);
        let source = self.target.source(from, keys)?;
        let refusal = self.target.pool.clone_refusal(source, self.target.head)?;
        let mut copied = Copied::default();
        self.putting(control, |put| {
            let mut copy = Copy { put, name: from, source, path: &path };
            copied = copy.file(&into, reflink, refusal)?;
            Ok(())
        })?;
        Ok(copied)
    }
}

impl Target {
    /// The object of a dataset of the pool, whose key is loaded.
    fn source(&mut self, name: &str, keys: &dyn Keys) -> Result<ObjectId> {
        let (object, root) = {
            let dsl = self.pool.dsl();
            let dataset = dsl.dataset(name)?;
            dataset.check_not_filled()?;
            let root = dataset.crypto_key()?.map(|keys| keys.root);
            (dataset.object(), root.filter(|_| dsl.keyring().get(dataset.object().0).is_none()))
        };
        if let Some(root) = root {
            load_key(&mut self.pool, root, keys)?;
        }
        Ok(object)
    }

    /// The objects of a dataset in its current state.
    pub(super) fn objects(&self, dataset: ObjectId) -> Result<Arc<Objset>, Cause> {
        Ok(self.pool.dsl().dataset_by_object(dataset)?.objset()?)
    }
}

fn bad(why: String) -> FileError {
    FileFault::BadRequest(why).into()
}

/// A file that is being copied.
struct Copy<'p, 'a, 'c> {
    put: &'p mut Putting<'a, 'c>,
    /// The dataset that has the file.
    name: &'p str,
    source: ObjectId,
    /// The path in it.
    path: &'p [u8],
}

impl Copy<'_, '_, '_> {
    /// Adds the source to an error.
    fn of_source<T>(&self, result: Result<T, impl Into<Cause>>) -> Result<T, PutFault> {
        result.map_err(|source| PutFault::Original {
            dataset: self.name.to_owned(),
            path: self.path.to_vec(),
            source: source.into(),
        })
    }

    fn file(
        &mut self,
        into: &[&[u8]],
        reflink: Reflink,
        refusal: Option<&'static str>,
    ) -> Result<Copied, PutFault> {
        let set = self.of_source(self.put.target.objects(self.source))?;
        let (node, new, block_bytes) = self.read(&set)?;
        let (parent, name) = self.put.place(into, 1)?;
        let own = self.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let path = match name {
            Some(_) => into.join(&b'/'),
            None => [into, &[own]].concat().join(&b'/'),
        };
        let name = name.unwrap_or(own);
        let found = Putting::at(&path, self.put.writer.lookup(&self.put.target.set, parent, name))?;
        if self.source == self.put.target.head && found.is_some_and(|found| found.object == node.object) {
            return Err(target(&path, bad("source and target are the same file".to_owned())));
        }
        let object = self.put.node(parent, &path, name, &new)?;
        let mut copied = Copied::default();
        if reflink != Reflink::Never {
            let refusal = match refusal {
                Some(refusal) => Some(refusal.to_owned()),
                None => self.clone(&path, object, &node, block_bytes, &mut copied)?,
            };
            if let Some(reason) = refusal {
                self.refused(&path, reflink, reason)?;
            }
        }
        self.copy(&path, object, &node, &mut copied)?;
        self.put.end(object, &path, node.size)?;
        Ok(copied)
    }

    /// Reads the attributes of the file, and the size of its blocks.
    fn read(&self, set: &Objset) -> Result<(Node, NewNode, u64), PutFault> {
        let fs = self.of_source(Filesystem::open(set))?;
        let node = self.of_source(fs.resolve(self.path))?;
        if node.file_type() != Some(FileType::File) {
            let other = FileError::other_type("it is not a regular file");
            return self.of_source(Err(other));
        }
        let in_domain = || FileError::unsupported("copying an owner in a domain");
        let mut xattrs = Vec::new();
        if self.put.rules.keeps_xattrs {
            for xattr in self.of_source(fs.xattrs(&node))? {
                let value = self.of_source(fs.xattr_value(&xattr))?;
                xattrs.push((xattr.name, value));
            }
        }
        let new = NewNode {
            kind: NodeKind::File(node.size),
            permissions: node.permissions(),
            uid: self.of_source(node.uid.posix().ok_or_else(in_domain))?,
            gid: self.of_source(node.gid.posix().ok_or_else(in_domain))?,
            atime: self.put.rules.time(node.atime),
            mtime: self.put.rules.time(node.mtime),
            xattrs,
        };
        let info = self.of_source(set.info(node.object))?;
        Ok((node, new, info.block_bytes))
    }

    fn refused(&mut self, path: &[u8], reflink: Reflink, reason: String) -> Result<(), PutFault> {
        let file = format!("{}:/{}", self.name, file_name(self.path));
        if reflink == Reflink::Always {
            return Err(target(path, bad(format!("blocks of {file} cannot be cloned: {reason}"))));
        }
        self.put.control.warn(Warning::NotCloned { file, reason });
        Ok(())
    }

    /// Clones the blocks of the file. Returns the reason if not all can be cloned.
    fn clone(
        &mut self,
        path: &[u8],
        object: ObjectId,
        node: &Node,
        block_bytes: u64,
        copied: &mut Copied,
    ) -> Result<Option<String>, PutFault> {
        let bytes = u32::try_from(block_bytes).map_err(|_| {
            target(path, FileError::unsupported(format!("a file with blocks of {block_bytes} bytes")))
        })?;
        Putting::at(path, self.put.target.set.set_block_size(object, bytes, 0))?;
        let blocks = node.size.div_ceil(block_bytes);
        let mut at = 0;
        while at < blocks {
            self.put.check()?;
            // A transaction group may have been completed: blocks that the old state refers to can be reused.
            let set = self.of_source(self.put.target.objects(self.source))?;
            let count = BLOCKS.min(blocks - at);
            let (from_block, to_block) = (BlockId(at), BlockId(at));
            let range = CloneRange { from: node.object, from_block, to: object, to_block, count };
            let (done, refusal) = Putting::at(path, self.put.target.set.clone_range(&set, range))?;
            at += done;
            copied.cloned_bytes = (at * block_bytes).min(node.size);
            if let Some(refusal) = refusal {
                return Ok(Some(refusal.to_string()));
            }
            let bytes = usize::try_from(done * block_bytes.max(BLOCK_BYTES_MIN)).unwrap_or(usize::MAX);
            Putting::at(path, self.put.target.wrote(Some(self.put.writer), bytes))?;
            self.put.control.did(usize::try_from(done * block_bytes).unwrap_or(usize::MAX));
        }
        Ok(None)
    }

    /// Copies the content after the cloned blocks.
    fn copy(
        &mut self,
        path: &[u8],
        object: ObjectId,
        node: &Node,
        copied: &mut Copied,
    ) -> Result<(), PutFault> {
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut at = copied.cloned_bytes;
        while at < node.size {
            let set = self.of_source(self.put.target.objects(self.source))?;
            let fs = self.of_source(Filesystem::open(&*set))?;
            let content = self.of_source(fs.content(node))?;
            let Some(range) = self.of_source(content.next_range(at))? else { break };
            at = range.start;
            let end = range.end.min(at + CHUNK_BYTES as u64);
            let part = &mut buffer[..(end - at) as usize];
            let length = self.of_source(content.read(at, part))?;
            if length == 0 {
                break;
            }
            self.put.content(object, path, at, &buffer[..length])?;
            at += length as u64;
        }
        copied.copied_bytes = node.size - copied.cloned_bytes;
        Ok(())
    }
}
