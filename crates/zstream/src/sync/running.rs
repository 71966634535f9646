//! A running ZFS as a source or target: through `zfs list`, `zfs send`, `zfs receive`.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::process::Stdio;

use super::SyncRequest;
use super::location::RunningZfs;
use super::side::{Content, Sending, Source, Target};
use super::state::{Head, Point};
use crate::control::{Cancel, Control};
use crate::error::SyncFault;
use crate::error::{Error, Result};

/// The columns of `zfs list` that are read.
const COLUMNS: [&str; 7] =
    ["name", "type", "guid", "createtxg", "encryption", "receive_resume_token", "origin"];

/// A pipe to `zfs receive` is filled in pieces of this size, in bytes.
const PIECE_BYTES: usize = 1 << 20;

/// A running ZFS, while a synchronization is not cancelled.
#[derive(Clone, Debug)]
pub(super) struct Zfs {
    pub(super) at: RunningZfs,
    pub(super) cancel: Cancel,
}

/// Parses what `zfs list -Hp -o COLUMNS` prints.
pub(super) fn parse(text: &str) -> Result<Vec<Head>, SyncFault> {
    let mut heads: BTreeMap<String, Head> = BTreeMap::new();
    for line in text.lines() {
        let bad = || SyncFault::Output { command: "`zfs list`".to_owned(), line: line.to_owned() };
        let cells: Vec<&str> = line.split('\t').collect();
        let [name, kind, guid, txg, encryption, token, origin] = cells[..] else { return Err(bad()) };
        let given = |cell: &str| (cell != "-" && !cell.is_empty()).then(|| cell.to_owned());
        let Some((head, short)) = name.split_once(['@', '#']) else {
            let head = heads.entry(name.to_owned()).or_default();
            name.clone_into(&mut head.name);
            head.is_encrypted = !matches!(encryption, "-" | "off");
            (head.token, head.origin) = (given(token), given(origin));
            continue;
        };
        let number = |cell: &str| cell.parse().map_err(|_| bad());
        let point = Point { name: short.to_owned(), guid: number(guid)?, txg: number(txg)? };
        let head = heads.entry(head.to_owned()).or_default();
        if kind == "bookmark" { head.bookmarks.push(point) } else { head.snapshots.push(point) }
    }
    // A name that is only known from its snapshots is not one of the datasets that were asked for.
    Ok(heads.into_values().filter(|head| !head.name.is_empty()).map(Head::sorted).collect())
}

impl Zfs {
    /// The dataset, or with `recursive` also those below; none if it does not exist.
    fn heads(&self, name: &str, recursive: bool) -> Result<Vec<Head>> {
        let columns = COLUMNS.join(",");
        let mut words = vec!["list", "-H", "-p", "-t", "filesystem,volume,snapshot,bookmark", "-o", &columns];
        if recursive {
            words.push("-r")
        } else {
            words.extend(["-d", "1"])
        }
        words.push(name);
        let text = match self.at.run(&self.cancel, &words) {
            Err(Error::Sync(fault)) if is_not_found(&fault) => return Ok(Vec::new()),
            text => text?,
        };
        let mut heads = parse(&text)?;
        heads.retain(|head| recursive || head.name == name);
        Ok(heads)
    }

    fn send_words(&self, sending: &Sending, request: &SyncRequest) -> Vec<String> {
        let mut words = vec!["send".to_owned()];
        let step = match &sending.content {
            Content::Rest { token, .. } => {
                words.extend(["-t".to_owned(), token.clone()]);
                return words;
            }
            Content::Step(step) => step,
        };
        if !request.plain {
            let form = if sending.is_encrypted { &["-w"][..] } else { &["-L", "-e", "-c"] };
            words.extend(form.iter().map(|&word| word.to_owned()));
        }
        if request.properties {
            words.push("-p".to_owned());
        }
        if let Some(from) = &step.from {
            words.push(if step.snapshots.len() > 1 { "-I" } else { "-i" }.to_owned());
            words.push(if from.starts_with('#') { format!("{}{from}", sending.name) } else { from.clone() });
        }
        words.push(format!("{}@{}", sending.name, step.to().name));
        words
    }
}

fn is_not_found(fault: &SyncFault) -> bool {
    matches!(fault, SyncFault::Command { message, .. } if message.contains("dataset does not exist"))
}

fn as_strs(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

impl Source for Zfs {
    fn list(&self, recursive: bool, _: &mut Control<'_>) -> Result<Vec<Head>> {
        self.heads(&self.at.dataset, recursive)
    }

    fn guid(&self, dataset: &str, snapshot: &str) -> Result<Option<u64>> {
        let heads = self.heads(dataset, false)?;
        Ok(heads
            .iter()
            .flat_map(|head| &head.snapshots)
            .find(|point| point.name == snapshot)
            .map(|point| point.guid))
    }

    fn estimate(&self, sending: &Sending, request: &SyncRequest) -> Result<Option<u64>> {
        if !request.dry_run {
            // It would take as long as a connection does, for no more than a bar of progress.
            return Ok(None);
        }
        let mut words = self.send_words(sending, request);
        words.splice(1..1, ["-n".to_owned(), "-P".to_owned()]);
        let text = self.at.run(&self.cancel, &as_strs(&words))?;
        let mut sizes = text.lines().filter_map(|line| line.strip_prefix("size\t"));
        Ok(sizes.next_back().and_then(|size| size.trim().parse().ok()))
    }

    fn send(
        &self,
        sending: &Sending,
        request: &SyncRequest,
        out: &mut dyn Write,
        cancel: &Cancel,
    ) -> Result<()> {
        let words = self.send_words(sending, request);
        self.at.start(&as_strs(&words), Stdio::null(), Stdio::piped())?.pass(out, cancel)
    }

    fn mark(&self, snapshots: &[(String, Point)], request: &SyncRequest) -> Result<Vec<String>> {
        let mut made = Vec::new();
        // Also after an interruption.
        let this = Self { cancel: Cancel::new(), ..self.clone() };
        for (name, point) in snapshots {
            let Some(head) = this.heads(name, false)?.into_iter().next() else { continue };
            let snapshot = format!("{name}@{}", point.name);
            if let Some(prefix) = &request.bookmark {
                let marks = super::mark::bookmarks(&head, prefix, point);
                if let Some(stale) = marks.stale {
                    this.at.run(&this.cancel, &["destroy", &stale])?;
                }
                if let Some(new) = marks.new {
                    this.at.run(&this.cancel, &["bookmark", &snapshot, &new])?;
                    made.push(new);
                }
                for old in &marks.old {
                    this.at.run(&this.cancel, &["destroy", old])?;
                }
            }
            if let Some(tag) = &request.hold {
                let held = this.held(&head, tag)?;
                if !held.contains(&snapshot) && head.snapshots.iter().any(|known| known.guid == point.guid) {
                    this.at.run(&this.cancel, &["hold", tag, &snapshot])?;
                    made.push(format!("{snapshot} ({tag})"));
                }
                for old in held.iter().filter(|old| **old != snapshot) {
                    this.at.run(&this.cancel, &["release", tag, old])?;
                }
            }
        }
        Ok(made)
    }
}

impl Zfs {
    /// The snapshots of a dataset that have a hold.
    fn held(&self, head: &Head, tag: &str) -> Result<Vec<String>> {
        let names: Vec<String> =
            head.snapshots.iter().map(|point| format!("{}@{}", head.name, point.name)).collect();
        let mut held = Vec::new();
        // A command line has a limit.
        for names in names.chunks(500) {
            let words: Vec<&str> =
                ["holds", "-H"].into_iter().chain(names.iter().map(String::as_str)).collect();
            for line in self.at.run(&self.cancel, &words)?.lines() {
                let mut cells = line.split('\t');
                if let (Some(name), Some(of)) = (cells.next(), cells.next())
                    && of == tag
                {
                    held.push(name.to_owned());
                }
            }
        }
        Ok(held)
    }
}

impl Target for Zfs {
    fn is_serial(&self) -> bool {
        false
    }

    fn list(&self, name: &str, recursive: bool, _: &mut Control<'_>) -> Result<Vec<Head>> {
        self.heads(name, recursive)
    }

    fn receive(
        &self,
        name: &str,
        request: &SyncRequest,
        stream: &mut dyn Read,
        control: &mut Control<'_>,
    ) -> Result<()> {
        let mut words = vec!["receive", "-s", "-u"];
        if request.force {
            words.push("-F");
        }
        request.set.iter().for_each(|set| words.extend(["-o", set]));
        request.exclude_properties.iter().for_each(|name| words.extend(["-x", name]));
        words.push(name);
        let mut running = self.at.start(&words, Stdio::piped(), Stdio::null())?;
        let stdin = running.stdin();
        let copied = stdin.map_or(Ok(()), |mut stdin| pump(stream, &mut stdin, control));
        // The end of its input: what was received is kept if it is not whole.
        match (copied, running.finish()) {
            (Err(Pumped::Source(error)), _) if control.is_cancelled() => {
                drop(error);
                Err(Error::Cancelled)
            }
            (Err(Pumped::Source(source)), _) => {
                Err(SyncFault::Run { command: "the sender".to_owned(), source }.into())
            }
            (_, Err(error)) => Err(error),
            (Err(Pumped::Target(source)), Ok(())) => {
                Err(SyncFault::Run { command: "`zfs receive`".to_owned(), source }.into())
            }
            (Ok(()), Ok(())) => Ok(()),
        }
    }

    fn create(&self, name: &str) -> Result<()> {
        // It is not mounted, which only root may do.
        self.at.run(&self.cancel, &["create", "-p", "-o", "canmount=off", name]).map(drop)
    }

    fn roll_back(&self, snapshot: &str) -> Result<()> {
        self.at.run(&self.cancel, &["rollback", "-r", snapshot]).map(drop)
    }

    fn discard(&self, name: &str) -> Result<()> {
        self.at.run(&self.cancel, &["receive", "-A", name]).map(drop)
    }
}

/// The end of a pipe that failed.
enum Pumped {
    Source(io::Error),
    Target(io::Error),
}

fn pump(from: &mut dyn Read, to: &mut dyn Write, control: &mut Control<'_>) -> Result<(), Pumped> {
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        let length = from.read(&mut buffer).map_err(Pumped::Source)?;
        if length == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..length]).map_err(Pumped::Target)?;
        control.did(length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_parsed() {
        let text = "tank/a\tfilesystem\t1\t10\toff\t-\t-\n\
                    tank/a/b\tvolume\t2\t20\taes-256-gcm\t1-abc\ttank/a@y\n\
                    tank/a@y\tsnapshot\t4\t40\t-\t-\t-\n\
                    tank/a@x z\tsnapshot\t3\t30\t-\t-\t-\n\
                    tank/a#m\tbookmark\t3\t30\t-\t-\t-\n";
        let heads = parse(text).unwrap();
        let names: Vec<_> = heads.iter().map(|head| head.name.as_str()).collect();
        assert_eq!(names, ["tank/a", "tank/a/b"]);
        let points = |points: &[Point]| points.iter().map(|point| point.name.clone()).collect::<Vec<_>>();
        assert_eq!(
            (points(&heads[0].snapshots), points(&heads[0].bookmarks)),
            (vec!["x z".into(), "y".into()], vec!["m".into()])
        );
        assert!(!heads[0].is_encrypted && heads[1].is_encrypted && heads[0].token.is_none());
        assert_eq!(
            (heads[1].token.as_deref(), heads[1].origin.as_deref()),
            (Some("1-abc"), Some("tank/a@y"))
        );
        assert!(
            parse("tank\tfilesystem\t1\n").is_err() && parse("tank@a\tsnapshot\tx\t1\t-\t-\t-\n").is_err()
        );
        assert_eq!(parse("").unwrap(), []);
    }
}
