//! Reading a stream one record ahead, so that a payload is handed on only when the record behind it has vouched for it.

use std::io::Read;

use zstream_format::nvlist::NvList;
use zstream_format::place::Place;
use zstream_format::record::{Begin, Body, Header};
use zstream_format::stream::{Role, StreamReader};

use crate::error::{Fault, Result};
use crate::rules::Head;

/// A record that was read. Nothing has vouched for its payload until the next one was read too.
#[derive(Clone, Debug)]
pub struct Taken {
    /// Where it is.
    pub place: Place,
    /// What it is for.
    pub role: Role,
    /// Its header.
    pub header: Header,
    /// Its payload.
    pub payload: Vec<u8>,
    /// Where it ends in the input, in bytes.
    pub end: u64,
}

/// What begins in a stream. Header and list are vouched for by the record behind them.
#[derive(Debug)]
pub struct Opening {
    /// The header of BEGIN.
    pub header: Header,
    /// The same, taken apart.
    pub begin: Begin,
    /// The list behind it, where there is one.
    pub list: Option<NvList>,
    /// Where BEGIN is.
    pub place: Place,
    /// Whether a package begins, and not one snapshot.
    pub is_package: bool,
    /// The record behind BEGIN.
    pub(crate) next: Taken,
}

/// A stream that is received.
pub struct Input<R> {
    reader: StreamReader<R>,
    /// Where the substream's BEGIN record ends, without its list: from there OpenZFS counts.
    counted_from: u64,
}

impl Opening {
    /// What it says, to be judged.
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
    /// A stream from its start.
    pub fn new(source: R) -> Self {
        Self { reader: StreamReader::new(source), counted_from: 0 }
    }

    /// Bytes that were read so far.
    pub fn offset(&self) -> u64 {
        self.reader.offset()
    }

    /// Where OpenZFS begins to count the bytes of the substream.
    pub(crate) fn counted_from(&self) -> u64 {
        self.counted_from
    }

    pub(crate) fn next(&mut self) -> Result<Option<Taken>> {
        let Some(record) = self.reader.next()? else { return Ok(None) };
        let (place, role, header) = (record.place, record.role, record.header.clone());
        let payload = record.payload.to_vec();
        Ok(Some(Taken { place, role, header, payload, end: self.reader.offset() }))
    }

    /// The record behind one that is not the last.
    fn following(&mut self, place: Place) -> Result<Taken> {
        let cut = || zstream_format::stream::Error::new(zstream_format::stream::Fault::NoEnd, place);
        Ok(self.next()?.ok_or_else(cut)?)
    }

    /// What begins next: a package, or one snapshot. None at the end of a package or of the input.
    ///
    /// # Errors
    /// The input is not the start of a stream, or ends behind BEGIN, or its list cannot be read.
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

    /// Reads what begins with `opening` up to its END. `each` gets the records between, each when the next one has vouched
    /// for it, and how many bytes were read by then. How many records there are, BEGIN and END with them.
    ///
    /// # Errors
    /// It is not whole, or what `each` returns.
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
