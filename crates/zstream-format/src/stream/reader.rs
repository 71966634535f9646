//! Reading a stream record by record.

use std::io::{self, BufReader, Read, Seek};

use crate::fletcher::Fletcher4;
use crate::place::Place;
use crate::record::{HEADER_LEN, Header, TRAILER_OFFSET};
use crate::stream::follow::{Follower, Judged};
use crate::stream::padding::{is_padding, is_zero, zeros_of};
use crate::stream::{Error, Fault, Role};

/// The number of bytes that are requested from the source at a time if records are small.
const BUFFER_BYTES: usize = 256 << 10;

/// The extent of the verification by a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Checking {
    /// Structure and checksums; a checksum that does not match is an error at its record.
    #[default]
    Sums,
    /// The structure of the stream only.
    Shape,
}

/// One record of a stream.
#[derive(Debug)]
#[non_exhaustive]
pub struct Record<'a> {
    /// The position of the record.
    pub place: Place,
    /// The role of the record.
    pub role: Role,
    /// The header of the record.
    pub header: &'a Header,
    /// The payload, which the checksum in the *next* record covers. It is empty if it was skipped.
    pub payload: &'a [u8],
}

impl Record<'_> {
    /// The offset of the payload in the stream.
    #[must_use]
    pub fn payload_offset(&self) -> u64 {
        self.place.offset + HEADER_LEN as u64
    }
}

/// A reader of records, one by one, in constant memory: the largest payload (16 MiB, or the nvlist of a
/// package) and a buffer.
///
/// ```
/// use zstream_format::stream::StreamReader;
///
/// let stream = include_bytes!("../../tests/data/small.zfs");
/// let mut reader = StreamReader::new(&stream[..]);
/// let mut names = Vec::new();
/// while let Some(record) = reader.next()? {
///     names.push(record.header.record_type().unwrap().name());
/// }
/// assert_eq!(names.first(), Some(&"BEGIN"));
/// assert_eq!(reader.verified(), stream.len() as u64);
/// # Ok::<(), zstream_format::stream::Error>(())
/// ```
pub struct StreamReader<R> {
    source: BufReader<R>,
    skip: fn(&mut BufReader<R>, u64, Option<u64>) -> io::Result<u64>,
    /// The length of the source, if it can be skipped in.
    len: Option<u64>,
    checking: Checking,
    follower: Follower,
    header: Header,
    payload: Vec<u8>,
    /// `true` to read a payload together with the header after it, since nothing else is buffered.
    reads_header_ahead: bool,
    /// The bytes of the next header that were read.
    ahead: Vec<u8>,
    failed: bool,
}

impl<R: Read> StreamReader<R> {
    /// Creates a reader from the start of a stream, which verifies structure and checksums.
    pub fn new(source: R) -> Self {
        Self::with_buffer(source, BUFFER_BYTES)
    }

    /// Creates a reader that never reads past the END of a stream, so that the data after it in a pipe is left to the next
    /// reader. It reads from the source once for each record: a payload together with the header that must follow it.
    pub fn exact(source: R) -> Self {
        Self { reads_header_ahead: true, ..Self::with_buffer(source, 0) }
    }

    fn with_buffer(source: R, buffer_bytes: usize) -> Self {
        Self {
            source: BufReader::with_capacity(buffer_bytes, source),
            skip: |source, len, _| io::copy(&mut source.take(len), &mut io::sink()),
            len: None,
            checking: Checking::Sums,
            follower: Follower::default(),
            header: Header::from_bytes([0; HEADER_LEN], crate::order::ByteOrder::NATIVE),
            payload: Vec::new(),
            reads_header_ahead: false,
            ahead: Vec::with_capacity(HEADER_LEN),
            failed: false,
        }
    }

    /// Sets the extent of the verification.
    #[must_use]
    pub fn checking(mut self, checking: Checking) -> Self {
        self.checking = checking;
        self
    }

    /// Reads, verifies and returns the next record, or `None` after the last complete stream.
    ///
    /// # Errors
    /// Returns a [`Fault`] with the position of the current record if the input ends too early, a checksum does
    /// not match, a record is out of place, a size exceeds its limit, or reading fails.
    #[allow(clippy::should_implement_trait, reason = "a record borrows from the reader")]
    pub fn next(&mut self) -> Result<Option<Record<'_>>, Error> {
        self.step(false)
    }

    /// Reads the next record like [`next`](Self::next), but with [`Checking::Shape`] skips payloads other than the nvlists
    /// of BEGIN. In a source that seeks they are not read. A reader that verifies checksums returns the payloads, since it
    /// needs them.
    ///
    /// # Errors
    /// Fails like [`next`](Self::next).
    pub fn next_header(&mut self) -> Result<Option<Record<'_>>, Error> {
        self.step(self.checking == Checking::Shape)
    }

    /// The offset of the next record in the stream.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.follower.offset
    }

    /// The number of bytes that a checksum has verified so far; after a complete stream, all of them.
    #[must_use]
    pub fn verified(&self) -> u64 {
        self.follower.verified
    }

    /// The number of complete streams so far; a package counts as one.
    #[must_use]
    pub fn whole_streams(&self) -> u64 {
        self.follower.chain.whole_streams()
    }

    /// The number of zeros after the last END with which a block was filled up. They belong to no stream.
    #[must_use]
    pub fn padding(&self) -> u64 {
        self.follower.padding
    }

    fn step(&mut self, skip_payload: bool) -> Result<Option<Record<'_>>, Error> {
        let mut place = self.follower.place();
        let outcome = if std::mem::replace(&mut self.failed, true) {
            Err(Fault::GivenUp)
        } else {
            self.read_record(skip_payload, &mut place)
        };
        match outcome {
            Ok(role) => {
                self.failed = false;
                Ok(role.map(|role| Record { place, role, header: &self.header, payload: &self.payload }))
            }
            Err(fault) => Err(Error::new(fault, place)),
        }
    }

    fn read_record(&mut self, skip_payload: bool, place: &mut Place) -> Result<Option<Role>, Fault> {
        let mut bytes = [0; HEADER_LEN];
        let ahead = self.ahead.len();
        bytes[..ahead].copy_from_slice(&self.ahead);
        self.ahead.clear();
        let have = ahead + read_full(&mut self.source, &mut bytes[ahead..])?;
        if have == 0 {
            return self.follower.chain.finish().map(|()| None);
        }
        if self.follower.chain.may_end() && is_zero(&bytes[..have]) {
            let more = zeros_of(&mut self.source)?.map(|more| have as u64 + more);
            if let Some(zeros) = more.filter(|zeros| is_padding(self.follower.offset, *zeros)) {
                self.follower.padding = zeros;
                return Ok(None);
            }
        }
        if have < HEADER_LEN {
            return Err(Fault::Truncated {
                what: "a record header",
                need: HEADER_LEN as u64,
                have: have as u64,
            });
        }
        let sum_header = (self.checking == Checking::Sums).then_some(|before, header: &Header| {
            let mut sum = Fletcher4::from_state(before, header.order());
            sum.update(&header.as_bytes()[..TRAILER_OFFSET]);
            sum.value()
        });
        let Judged { header, role, payload_len, inside } = self.follower.judge(bytes, place, sum_header)?;
        self.header = header;
        if skip_payload && !matches!(role, Role::PackageBegin | Role::SubstreamBegin) {
            self.payload.clear();
            let need = payload_len as u64;
            let have = (self.skip)(&mut self.source, need, self.len)?;
            if have < need {
                return Err(Fault::Truncated { what: "a payload", need, have });
            }
        } else {
            // A record with a payload is never the last of a stream.
            let ahead = if self.reads_header_ahead && payload_len > 0 { HEADER_LEN } else { 0 };
            let have = read_payload(&mut self.source, &mut self.payload, payload_len + ahead)?;
            if have < payload_len {
                return Err(Fault::Truncated {
                    what: "a payload",
                    need: payload_len as u64,
                    have: have as u64,
                });
            }
            self.ahead.extend_from_slice(&self.payload[payload_len..have]);
            self.payload.truncate(payload_len);
        }
        let behind = (self.checking == Checking::Sums).then(|| {
            let mut sum = Fletcher4::from_state(inside, self.header.order());
            sum.update(&self.header.as_bytes()[TRAILER_OFFSET..]);
            sum.update(&self.payload);
            sum.value()
        });
        self.follower.pass(role, payload_len, behind);
        Ok(Some(role))
    }
}

impl<R: Read + Seek> StreamReader<R> {
    /// Creates a reader from the start of a source that seeks (a file, or a mapped file in a `Cursor`). It
    /// validates the structure only, and skips payloads without reading them.
    ///
    /// # Errors
    /// Fails if the length of the source cannot be determined.
    pub fn seekable(mut source: R) -> io::Result<Self> {
        let start = source.stream_position()?;
        let len = source.seek(io::SeekFrom::End(0))?;
        source.seek(io::SeekFrom::Start(start))?;
        let mut reader = Self::new(source).checking(Checking::Shape);
        reader.len = Some(len);
        reader.skip = |source, skip, len| {
            let at = source.stream_position()?;
            let skip = skip.min(len.unwrap_or(u64::MAX).saturating_sub(at));
            source.seek_relative(i64::try_from(skip).map_err(io::Error::other)?)?;
            Ok(skip)
        };
        Ok(reader)
    }
}

/// Reads until `buf` is full or the source ends. Returns the number of bytes.
pub(crate) fn read_full(source: &mut impl Read, buf: &mut [u8]) -> io::Result<usize> {
    let mut have = 0;
    while have < buf.len() {
        match source.read(&mut buf[have..]) {
            Ok(0) => break,
            Ok(more) => have += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(have)
}

/// Reads `len` bytes, or as many as there are. The buffer grows with the bytes that are read, not with the size that the
/// record states, and may be longer than the result.
fn read_payload(source: &mut impl Read, payload: &mut Vec<u8>, len: usize) -> io::Result<usize> {
    const STEP: usize = 1 << 20;
    let mut have = 0;
    while have < len {
        let want = (len - have).min(STEP.max(have));
        if payload.len() < have + want {
            payload.resize(have + want, 0);
        }
        let got = read_full(source, &mut payload[have..have + want])?;
        have += got;
        if got < want {
            break;
        }
    }
    Ok(have)
}
