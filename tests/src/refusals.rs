//! Streams that break one rule, and a pool that refuses them and stays as it was.
//!
//! A stream is a golden one with an [`Edit`]: records changed, put in or taken out, and the checksums right again.

use std::sync::Arc;

use zstream_dmu::device::{Device, FileDevice};
use zstream_dmu::testing::OverlayDevice;
use zstream_format::checksum::Checksum;
use zstream_format::errno::Errno;
use zstream_format::flags::{FeatureFlags, VersionInfo};
use zstream_format::fletcher::Fletcher4;
use zstream_format::ids::Guid;
use zstream_format::nvlist::NvList;
use zstream_format::order::ByteOrder;
use zstream_format::record::{Body, HEADER_LEN, Header};
use zstream_recv::Target;
use zstream_recv::error::Result;

use crate::created::{open, open_writable, write_options};
use crate::edit::{Piece, records};
use crate::golden;
use crate::pools::PASSPHRASE;
use crate::receiving::{self, Demo, check};
use crate::sending::Sending;
use crate::state::{State, difference, whole};

/// The byte order of the golden streams.
pub const ORDER: ByteOrder = ByteOrder::Little;

/// Where a record has the checksum of all that lies before it.
const TRAILER: std::ops::Range<usize> = 280..HEADER_LEN;

/// What is done to the records of a stream.
pub type Edit = Box<dyn Fn(&mut Vec<Piece>)>;

/// A rule: what it is about, the golden stream, what is done to it, where it goes, and the errno.
pub type Case = (&'static str, &'static str, Edit, Target, Errno);

/// Changes the first record of a kind; its payload gets the length that it then says.
#[macro_export]
macro_rules! change {
    ($kind:ident, |$record:ident| $change:expr) => {
        $crate::change!($kind, |$record| true, $change)
    };
    ($kind:ident, |$record:ident| $which:expr, $change:expr) => {
        Box::new(move |pieces: &mut Vec<$crate::edit::Piece>| {
            use zstream_format::record::Body;
            #[allow(unused_variables)]
            let is = |piece: &$crate::edit::Piece| matches!(piece.0.body(), Some(Body::$kind($record)) if $which);
            let at = pieces.iter().position(is).expect(stringify!($kind));
            let Some(Body::$kind(mut $record)) = pieces[at].0.body() else { return };
            $change;
            pieces[at].0.set_body($record);
            let expected = pieces[at].0.payload_len();
            if expected < 1 << 20 {
                pieces[at].1.resize(expected as usize, 0);
            }
        })
    };
}

/// Nothing is changed.
#[must_use]
pub fn as_it_is() -> Edit {
    Box::new(|_| ())
}

/// One edit, then another.
#[must_use]
pub fn both(first: Edit, second: Edit) -> Edit {
    Box::new(move |pieces| {
        first(pieces);
        second(pieces);
    })
}

/// Puts a record before END, with a payload of so many zeros.
pub fn add(body: impl Into<Body> + Clone + 'static, payload: usize) -> Edit {
    Box::new(move |pieces| {
        let end = pieces.len() - 1;
        pieces.insert(end, (Header::new(body.clone().into(), ORDER), vec![0; payload]));
    })
}

/// Changes the list behind BEGIN.
///
/// # Panics
/// The edit does: there is no list.
pub fn list(edit: impl Fn(&mut NvList) + 'static) -> Edit {
    Box::new(move |pieces| {
        let decoded = NvList::decode(&pieces[0].1).expect("a list");
        let mut list = decoded.list;
        edit(&mut list);
        pieces[0].1 = list.encode(decoded.packed).expect("a list");
        let length = pieces[0].1.len() as u32;
        pieces[0].0.set_payload_len_field(length);
    })
}

/// Changes what a raw stream says of its keys.
///
/// # Panics
/// The edit does: the stream is not raw.
pub fn keydata(edit: impl Fn(&mut NvList) + 'static) -> Edit {
    list(move |list| {
        let mut keys = list.get_list("crypt_keydata").expect("keys").clone();
        edit(&mut keys);
        list.remove("crypt_keydata");
        list.add_list("crypt_keydata", keys);
    })
}

/// Features of the stream that are said or not said.
#[must_use]
pub fn features(add: FeatureFlags, remove: FeatureFlags) -> Edit {
    change!(Begin, |begin| {
        let features = (begin.version_info.features() | add) - remove;
        begin.version_info = VersionInfo::new(begin.version_info.header_type(), features);
    })
}

/// The stream says that it starts from this snapshot.
#[must_use]
pub fn from(guid: u64) -> Edit {
    change!(Begin, |begin| begin.from_guid = Guid(guid))
}

/// The guid of the snapshot that a golden stream is of.
///
/// # Panics
/// It does not begin.
#[must_use]
pub fn guid_of(name: &str) -> u64 {
    match records(&golden::stream(name))[0].0.body() {
        Some(Body::Begin(begin)) => begin.to_guid.0,
        other => panic!("{other:?}"),
    }
}

/// A stream of one snapshot, edited.
#[must_use]
pub fn edited(stream: &[u8], edit: &Edit) -> Vec<u8> {
    let mut pieces = records(stream);
    edit(&mut pieces);
    chained(&pieces)
}

/// Records in a row that no writer would put so, with right checksums.
#[must_use]
pub fn chained(pieces: &[Piece]) -> Vec<u8> {
    let (mut out, mut sum) = (Vec::new(), Fletcher4::from_state(Checksum::ZERO, ORDER));
    for (n, (header, payload)) in pieces.iter().enumerate() {
        let mut header = header.clone();
        if let Some(Body::End(mut end)) = header.body() {
            end.checksum = sum.value();
            header.set_body(end);
        }
        sum.update(&header.as_bytes()[..TRAILER.start]);
        if n > 0 {
            header.set_trailer(sum.value());
        }
        sum.update(&header.as_bytes()[TRAILER]);
        sum.update(payload);
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(payload);
    }
    out
}

/// A pool that streams are refused by, written to in memory only.
pub struct Bench {
    demo: Demo,
    base: Arc<dyn Device>,
    before: State,
    unlocked: &'static [&'static str],
}

impl Bench {
    /// A pool as it is now.
    ///
    /// # Panics
    /// It cannot be read.
    #[must_use]
    pub fn over(demo: Demo) -> Self {
        let base: Arc<dyn Device> = Arc::new(FileDevice::open(&demo.members()[0]).expect("a member"));
        let before = whole(&Sending::of(open(&[Arc::clone(&base)]).expect("a pool")));
        Self { demo, base, before, unlocked: &[] }
    }

    /// The keys of these datasets are loaded.
    #[must_use]
    pub fn unlocked(mut self, datasets: &'static [&'static str]) -> Self {
        self.unlocked = datasets;
        self
    }

    /// The pool as it was given.
    #[must_use]
    pub fn demo(&self) -> &Demo {
        &self.demo
    }

    fn receive(&self, stream: &[u8], to: &Target, unlocked: &[&str]) -> (Arc<dyn Device>, Result<()>) {
        let device: Arc<dyn Device> = Arc::new(OverlayDevice::new(Arc::clone(&self.base)));
        let mut pool = open_writable(&[Arc::clone(&device)], &write_options()).expect("a pool");
        for dataset in unlocked {
            let dir = pool.dsl().dir(dataset).expect("a dataset").object();
            pool.load_key(dir, PASSPHRASE).expect("the key");
        }
        let result = receiving::receive(pool, stream, to, &[]).map(drop);
        (device, result)
    }

    /// A stream is refused with this errno, and the pool is as it was.
    ///
    /// # Panics
    /// It is not.
    pub fn refuses(&self, what: &str, stream: &[u8], to: &Target, errno: Errno) {
        self.refuses_with(self.unlocked, what, stream, to, errno);
    }

    /// The same where no key is loaded.
    ///
    /// # Panics
    /// It is not refused, or with another errno.
    pub fn refuses_locked(&self, what: &str, stream: &[u8], to: &Target, errno: Errno) {
        self.refuses_with(&[], what, stream, to, errno);
    }

    fn refuses_with(&self, unlocked: &[&str], what: &str, stream: &[u8], to: &Target, errno: Errno) {
        let (device, result) = self.receive(stream, to, unlocked);
        let Err(error) = result else { panic!("{what}: it was received") };
        assert_eq!(error.errno(), errno, "{what}: {error}");
        let found = Sending::of(open(&[device]).expect("a pool"));
        assert_eq!(difference(&whole(&found), &self.before), "", "{what}: {error}");
        check(&found, what);
    }

    /// A golden stream is refused, edited.
    ///
    /// # Panics
    /// It is not.
    pub fn refuses_edited(&self, what: &str, name: &str, edit: &Edit, to: &Target, errno: Errno) {
        self.refuses(what, &edited(&golden::stream(name), edit), to, errno);
    }

    /// All of a table are refused.
    ///
    /// # Panics
    /// One is not.
    pub fn refuses_all(&self, cases: &[Case]) {
        for (what, name, edit, to, errno) in cases {
            self.refuses_edited(what, name, edit, to, *errno);
        }
    }

    /// A stream is received; gives the pool then, which is whole.
    ///
    /// # Panics
    /// It is refused.
    pub fn takes(&self, what: &str, stream: &[u8], to: &Target) -> Sending {
        let (device, result) = self.receive(stream, to, self.unlocked);
        result.unwrap_or_else(|error| panic!("{what}: {error}"));
        let found = Sending::of(open(&[device]).expect("a pool"));
        check(&found, what);
        found
    }
}
