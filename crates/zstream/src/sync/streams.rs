//! Stored streams as a source: each of their snapshots continues one target only.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write};
use std::path::PathBuf;

use zstream_format::stream::StreamReader;
use zstream_format::summary::summarize;

use super::SyncRequest;
use super::plan::{Plan, Step};
use super::side::{Content, Sending, Source};
use super::state::{Head, Point};
use crate::control::{Cancel, Control};
use crate::error::SyncFault;
use crate::error::{Error, Result};

/// A snapshot in a file.
#[derive(Clone, Debug)]
struct Stored {
    path: PathBuf,
    /// The range of its stream in the file.
    offset: u64,
    bytes: u64,
    dataset: String,
    from_guid: u64,
    point: Point,
}

/// Streams in files.
#[derive(Debug)]
pub(super) struct StreamSource {
    dataset: String,
    stored: Vec<Stored>,
}

impl StreamSource {
    /// Reads the headers of the streams in these files.
    pub(super) fn open(paths: &[PathBuf], dataset: &str) -> Result<Self> {
        let mut stored = Vec::new();
        for path in paths {
            let failed = |source| Error::File { path: path.clone(), source };
            let file = File::open(path).map_err(failed)?;
            let summary = summarize(StreamReader::seekable(&file).map_err(failed)?);
            if let Some(error) = summary.error {
                return Err(Error::Stream(error));
            }
            for snapshot in &summary.snapshots {
                let full = snapshot.name.to_string();
                let Some((name, short)) = full.split_once('@') else { continue };
                stored.push(Stored {
                    path: path.clone(),
                    offset: snapshot.offset,
                    bytes: snapshot.bytes,
                    dataset: name.to_owned(),
                    from_guid: snapshot.from_guid.0,
                    point: Point {
                        name: short.to_owned(),
                        guid: snapshot.to_guid.0,
                        txg: stored.len() as u64 + 1,
                    },
                });
            }
        }
        Ok(Self { dataset: dataset.to_owned(), stored })
    }

    fn find(&self, sending: &Sending) -> Option<&Stored> {
        let Content::Step(step) = &sending.content else { return None };
        self.stored.iter().find(|stored| {
            stored.dataset == sending.name
                && (stored.from_guid, stored.point.guid) == (step.from_guid, step.to().guid)
        })
    }
}

/// The streams that continue a target, one after the other.
fn chain(stored: &[Stored], source: &Head, target: &str, snapshots: &[Point]) -> Result<Plan, SyncFault> {
    let of_source = || stored.iter().filter(|stored| stored.dataset == source.name);
    let is_known = |guid: u64| snapshots.iter().any(|point| point.guid == guid);
    let mut from = snapshots.last().map(|point| format!("@{}", point.name));
    let mut at = snapshots.last().map_or(0, |point| point.guid);
    let (mut steps, mut done) = (Vec::new(), Vec::new());
    while let Some(next) = of_source().find(|stored| stored.from_guid == at && !is_known(stored.point.guid)) {
        // Hostile streams may form a circle.
        if done.contains(&next.point.guid) {
            break;
        }
        at = next.point.guid;
        done.push(at);
        let snapshots = vec![next.point.clone()];
        steps.push(Step { from: from.take(), from_guid: next.from_guid, snapshots });
        from = Some(format!("@{}", next.point.name));
    }
    let missing =
        of_source().find(|stored| !is_known(stored.point.guid) && !done.contains(&stored.point.guid));
    match (steps.is_empty(), missing) {
        (false, None) => Ok(Plan::Send(steps)),
        (true, None) => Ok(Plan::UpToDate(snapshots.last().cloned())),
        (_, Some(missing)) => Err(SyncFault::Gap {
            from: source.name.clone(),
            snapshot: missing.point.name.clone(),
            target: target.to_owned(),
        }),
    }
}

impl Source for StreamSource {
    fn list(&self, recursive: bool, _: &mut Control<'_>) -> Result<Vec<Head>> {
        let mut heads: Vec<Head> = Vec::new();
        for stored in &self.stored {
            let below = stored.dataset.strip_prefix(&self.dataset);
            if below != Some("") && !(recursive && below.is_some_and(|below| below.starts_with('/'))) {
                continue;
            }
            let at = heads.iter().position(|head| head.name == stored.dataset).unwrap_or_else(|| {
                heads.push(Head { name: stored.dataset.clone(), ..Head::default() });
                heads.len() - 1
            });
            heads[at].snapshots.push(stored.point.clone());
        }
        heads.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(heads)
    }

    fn guid(&self, _: &str, _: &str) -> Result<Option<u64>> {
        Ok(None)
    }

    fn own_plan(
        &self,
        source: &Head,
        (name, target): (&str, Option<&Head>),
        request: &SyncRequest,
    ) -> Option<Result<Plan>> {
        if target.is_some_and(|target| target.token.is_some()) {
            return Some(match request.force {
                true => Ok(Plan::Discard),
                false => {
                    let (from, target) = (source.name.clone(), name.to_owned());
                    Err(SyncFault::OtherReceive { from, target }.into())
                }
            });
        }
        if target.is_some_and(|target| target.snapshots.is_empty()) && !request.force {
            return Some(Err(SyncFault::Occupied { target: name.to_owned() }.into()));
        }
        let snapshots = target.map_or(&[][..], |head| &head.snapshots);
        Some(chain(&self.stored, source, name, snapshots).map_err(Error::from))
    }

    fn estimate(&self, sending: &Sending, _: &SyncRequest) -> Result<Option<u64>> {
        Ok(self.find(sending).map(|stored| stored.bytes))
    }

    fn send(&self, sending: &Sending, _: &SyncRequest, out: &mut dyn Write, _: &Cancel) -> Result<()> {
        let Some(stored) = self.find(sending) else {
            return Err(SyncFault::NothingChosen { from: sending.name.clone() }.into());
        };
        let failed = |source| Error::File { path: stored.path.clone(), source };
        let mut file = File::open(&stored.path).map_err(failed)?;
        file.seek(SeekFrom::Start(stored.offset)).map_err(failed)?;
        io::copy(&mut file.take(stored.bytes), out).map(drop).map_err(Error::Output)
    }

    fn mark(&self, _: &[(String, Point)], _: &SyncRequest) -> Result<Vec<String>> {
        Err(SyncFault::Unchangeable.into())
    }
}
