//! A pool that is not imported, as a source or target.

use std::io::{Read, Write};

use zstream_dmu::pool::WriteOptions;
use zstream_dsl::dataset::{Dataset, Dir};
use zstream_dsl::error::{Error as DatasetError, Result as DatasetResult};
use zstream_dsl::write::Reach;
use zstream_format::errno::Errno;
use zstream_format::token::ResumeToken;
use zstream_send::plan::StreamForm;
use zstream_send::request::Request as SendRequest;

use super::SyncRequest;
use super::side::{Content, Sending, Source, Target};
use super::state::{Head, Point};
use crate::control::{Cancel, Control};
use crate::create::create_parents;
use crate::datasets::{bookmark, destroy, hold, release, roll_back};
use crate::error::{Error, Result};
use crate::place::pool::leave;
use crate::place::{Keys, OpenPool, PoolPlace};
use crate::receive::{ReceiveRequest, Receiver, abort_receive};
use crate::send::Sender;

/// A source in a pool, which is open until the end: nothing of it changes in this time.
pub(super) struct PoolSource<'k> {
    pub(super) place: PoolPlace,
    pub(super) open: OpenPool,
    pub(super) dataset: String,
    pub(super) keys: &'k (dyn Keys + Sync),
    /// The line for the history of the pool.
    pub(super) command: String,
}

/// A target in a pool.
pub(super) struct PoolTarget<'k> {
    pub(super) place: PoolPlace,
    pub(super) keys: &'k (dyn Keys + Sync),
    pub(super) command: String,
    /// The guid of a pool that is read at the same time, and so cannot be the target.
    pub(super) other: Option<zstream_dmu::ids::Guid>,
}

fn point(snapshot: &Dataset) -> Point {
    let (name, phys) = (snapshot.snapshot_name().unwrap_or_default().to_owned(), snapshot.phys());
    Point { name, guid: phys.guid.0, txg: phys.creation_txg.0 }
}

/// The state of a dataset.
fn head(dir: &std::sync::Arc<Dir>) -> DatasetResult<Head> {
    let dataset = dir.head()?;
    let mark = |mark: &zstream_dsl::bookmark::Bookmark| Point {
        name: mark.short_name().to_owned(),
        guid: mark.guid.0,
        txg: mark.creation_txg.0,
    };
    let token = dataset.resume_token()?.map(|token| token.encode()).transpose();
    let token = token.map_err(|error| DatasetError::refused(Errno::EINVAL, error.to_string()))?;
    Ok(Head {
        name: dir.name().to_owned(),
        snapshots: dataset.snapshots()?.iter().map(point).collect(),
        bookmarks: dataset.bookmarks()?.iter().map(mark).collect(),
        token,
        is_encrypted: dataset.encryption_root()?.is_some(),
        origin: dir.origin()?.map(|origin| origin.name().to_owned()),
    }
    .sorted())
}

fn heads(open: &OpenPool, name: &str, recursive: bool) -> Result<Vec<Head>> {
    let Some(dir) = open.dsl.find_dir(name)? else { return Ok(Vec::new()) };
    let mut heads = Vec::new();
    if recursive {
        dir.walk(&mut |dir| {
            heads.push(head(dir)?);
            Ok(())
        })?;
    } else {
        heads.push(head(&dir)?);
    }
    heads.retain(|head| !head.name.contains(['%', '$']));
    heads.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(heads)
}

impl PoolSource<'_> {
    fn sender(&self, sending: &Sending, request: &SyncRequest) -> Result<Sender<'_>> {
        let stored =
            StreamForm { large_blocks: true, embedded: true, compressed: true, raw: sending.is_encrypted };
        let form = if request.plain { StreamForm::default() } else { stored };
        let sender = match &sending.content {
            Content::Rest { token, .. } => {
                let token = ResumeToken::parse(token)
                    .map_err(|error| Error::Send(zstream_send::Refusal::from(error)))?;
                Sender::resume(&self.open, &token, StreamForm::default())?
            }
            Content::Step(step) => {
                let mut send = SendRequest::new(format!("{}@{}", sending.name, step.to().name));
                (send.from, send.form, send.properties) = (step.from.clone(), form, request.properties);
                send.intermediates = step.snapshots.len() > 1;
                Sender::new(&self.open, &send, &mut Control::new())?
            }
        };
        sender.unlock(self.keys)?;
        Ok(sender)
    }
}

impl Source for PoolSource<'_> {
    fn list(&self, recursive: bool, _: &mut Control<'_>) -> Result<Vec<Head>> {
        heads(&self.open, &self.dataset, recursive)
    }

    fn guid(&self, dataset: &str, snapshot: &str) -> Result<Option<u64>> {
        Ok(Some(self.open.dsl.dataset(&format!("{dataset}@{snapshot}"))?.phys().guid.0))
    }

    fn estimate(&self, sending: &Sending, request: &SyncRequest) -> Result<Option<u64>> {
        Ok(Some(self.sender(sending, request)?.estimate()?.iter().sum()))
    }

    fn send(
        &self,
        sending: &Sending,
        request: &SyncRequest,
        out: &mut dyn Write,
        cancel: &Cancel,
    ) -> Result<()> {
        let sender = self.sender(sending, request)?;
        sender.send(out, &mut Control::new().cancelled_by(cancel)).map(drop)
    }

    fn mark(&self, snapshots: &[(String, Point)], request: &SyncRequest) -> Result<Vec<String>> {
        let (mut new, mut old, mut held, mut freed) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (name, last) in snapshots {
            let Some(head) = heads(&self.open, name, false)?.into_iter().next() else { continue };
            let snapshot = format!("{name}@{}", last.name);
            if let Some(prefix) = &request.bookmark {
                let marks = super::mark::bookmarks(&head, prefix, last);
                new.extend(marks.new.map(|new| (snapshot.clone(), new)));
                old.extend(marks.stale.into_iter().chain(marks.old));
            }
            let Some(tag) = &request.hold else { continue };
            for point in &head.snapshots {
                let name = format!("{name}@{}", point.name);
                match (self.open.dsl.dataset(&name)?.has_hold(tag)?, point.guid == last.guid) {
                    (false, true) => held.push(name),
                    (true, false) => freed.push(name),
                    _ => {}
                }
            }
        }
        if new.is_empty() && old.is_empty() && held.is_empty() && freed.is_empty() {
            return Ok(Vec::new());
        }
        let tag = request.hold.as_deref().unwrap_or_default();
        self.place.change(&self.dataset, &self.command, |pool| {
            let reach = zstream_dsl::write::Reach::default();
            old.iter().try_for_each(|old| destroy(pool, old, reach, false).map(drop))?;
            new.iter().try_for_each(|(snapshot, new)| bookmark(pool, snapshot, new))?;
            held.iter().try_for_each(|name| hold(pool, tag, std::slice::from_ref(name), false))?;
            freed.iter().try_for_each(|name| release(pool, tag, std::slice::from_ref(name), false))
        })?;
        let holds = held.iter().map(|name| format!("{name} ({tag})"));
        Ok(new.into_iter().map(|(_, new)| new).chain(holds).collect())
    }
}

impl Target for PoolTarget<'_> {
    fn is_serial(&self) -> bool {
        true
    }

    fn list(&self, name: &str, recursive: bool, control: &mut Control<'_>) -> Result<Vec<Head>> {
        let open = self.place.open(Some(name), control)?;
        if self.other == Some(open.pool.guid()) {
            return Err(crate::error::Request::SamePool.into());
        }
        heads(&open, name, recursive)
    }

    fn receive(
        &self,
        name: &str,
        request: &SyncRequest,
        stream: &mut dyn Read,
        control: &mut Control<'_>,
    ) -> Result<()> {
        let mut receive = ReceiveRequest::new(name);
        (receive.force, receive.resumable) = (request.force, true);
        request.set.iter().try_for_each(|set| receive.set(set))?;
        request.exclude_properties.iter().try_for_each(|name| receive.exclude(name))?;
        let receiver = Receiver::open(&self.place, receive, self.keys)?;
        receiver.receive(stream, &self.command, control).map(drop)
    }

    fn create(&self, name: &str) -> Result<()> {
        let below = format!("{name}/x");
        self.place.change(name, &self.command, |pool| create_parents(pool, &below, self.keys).map(drop))
    }

    fn roll_back(&self, snapshot: &str) -> Result<()> {
        let mut pool = self.place.open_writable(Some(snapshot), WriteOptions::default(), None)?;
        roll_back(&mut pool, snapshot, Reach { recursive: true, clones: false })?;
        leave(pool, Some(&self.command))
    }

    fn discard(&self, name: &str) -> Result<()> {
        let mut pool = self.place.open_writable(Some(name), WriteOptions::default(), None)?;
        abort_receive(&mut pool, name)?;
        leave(pool, Some(&self.command))
    }
}
