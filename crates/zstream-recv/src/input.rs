//! Input of a receive, read one record ahead: a payload is passed on only after the following record has vouched for
//! it.

use std::io::Read;

use zstream_format::nvlist::NvList;
use zstream_format::place::Place;
use zstream_format::record::{Begin, Body, Header};
use zstream_format::stream::{Role, StreamReader};

use crate::error::{Fault, Result};
use crate::rules::Head;

/// A record that was read. Its payload is not verified until the following record was read, too.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    /// The place of the record in the stream.
    pub place: Place,
    /// The role of the record.
    pub role: Role,
    /// The header of the record.
    pub header: Header,
    /// The payload of the record.
    pub payload: Vec<u8>,
    /// The offset in the input at which the record ends, in bytes.
    pub end: u64,
}

/// The start of a package or of one snapshot. The following record vouches for its header and list.
#[derive(Debug)]
#[non_exhaustive]
pub struct Opening {
    /// The header of BEGIN.
    pub header: Header,
    /// The parsed header.
    pub begin: Begin,
    /// The list after BEGIN, if there is one.
    pub list: Option<NvList>,
    /// The place of BEGIN in the stream.
    pub place: Place,
    /// `true` if a package begins, rather than one snapshot.
    pub is_package: bool,
    /// The record after BEGIN.
    pub(crate) next: Taken,
}

/// A stream that is received.
pub struct Input<R> {
    reader: StreamReader<R>,
    /// The offset at which the BEGIN record of the substream ends, without its list. OpenZFS counts from there.
    counted_from: u64,
}

impl Opening {
    /// Returns the header and list, to be checked against the rules.
    pub(crate) fn head(&self) -> Head<'_> {
        Head { begin: &self.begin, list: self.list.as_ref() }
    }
}

impl<R> std::fmt::Debug for Input<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Input").field("counted_from", &self.counted_from).finish_non_exhaustive()
    }
}

impl<R: Read> Input<R> {
    /// Starts to read a stream.
    pub fn new(source: R) -> Self {
        Self { reader: StreamReader::new(source), counted_from: 0 }
    }

    /// Starts to read a stream, and reads nothing after its END.
    pub fn exact(source: R) -> Self {
        Self { reader: StreamReader::exact(source), counted_from: 0 }
    }

    /// Returns the number of bytes that were read so far.
    pub fn offset(&self) -> u64 {
        self.reader.offset()
    }

    /// Returns the offset from which OpenZFS counts the bytes of the substream.
    pub(crate) fn counted_from(&self) -> u64 {
        self.counted_from
    }

    pub(crate) fn next(&mut self) -> Result<Option<Taken>> {
        let Some(record) = self.reader.next()? else { return Ok(None) };
        let (place, role, header) = (record.place, record.role, record.header.clone());
        let payload = record.payload.to_vec();
        Ok(Some(Taken { place, role, header, payload, end: self.reader.offset() }))
    }

    /// Reads the record that follows one that is not the last.
    fn following(&mut self, place: Place) -> Result<Taken> {
        let cut = || zstream_format::stream::Error::new(zstream_format::stream::Fault::NoEnd, place);
        Ok(self.next()?.ok_or_else(cut)?)
    }

    /// Reads the start of the next package or snapshot. Returns `None` at the end of a package or of the input.
    ///
    /// # Errors
    /// Fails if the input is not the start of a stream, ends after BEGIN, or has a list that cannot be read.
    pub fn open(&mut self) -> Result<Option<Opening>> {
        let Some(first) = self.next()? else { return Ok(None) };
        let is_package = match first.role {
            Role::PackageBegin => true,
            Role::SubstreamBegin => false,
            Role::PackageHeaderEnd | Role::PackageEnd | Role::SubstreamEnd | Role::Data => return Ok(None),
        };
        let Some(Body::Begin(begin)) = first.header.body() else { return Ok(None) };
        let next = self.following(first.place)?;
        let list = if first.payload.is_empty() {
            None
        } else {
            let fault = |error| {
                zstream_format::stream::Error::new(zstream_format::stream::Fault::List(error), first.place)
            };
            Some(NvList::decode(&first.payload).map_err(fault).map_err(Fault::from)?.list)
        };
        self.counted_from = first.end - first.payload.len() as u64;
        Ok(Some(Opening { header: first.header, begin, list, place: first.place, is_package, next }))
    }

    /// Reads the substream that starts with `opening` up to its END. `each` is called with each record between them,
    /// after the following record has vouched for it, and with the number of bytes read by then. Returns the number of
    /// records, BEGIN and END included.
    ///
    /// # Errors
    /// Fails if the stream is incomplete or damaged, or if `each` fails.
    pub(crate) fn records(
        &mut self,
        opening: &Opening,
        mut each: impl FnMut(Taken, u64) -> Result<()>,
    ) -> Result<u64> {
        let mut records = 2;
        let mut at = opening.next.clone();
        while at.role != Role::SubstreamEnd {
            let next = self.following(at.place)?;
            each(std::mem::replace(&mut at, next), self.offset())?;
            records += 1;
        }
        Ok(records)
    }
}
