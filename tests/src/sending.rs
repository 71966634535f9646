//! Sending from pools, as tests do it: from the words of a `zfs send` of one snapshot to a plan.

use std::path::PathBuf;
use std::sync::Arc;

use zstream_dmu::ids::{Guid, ObjectId};
use zstream_dmu::pool::{OpenOptions, Pool};
use zstream_dmu::zio::crypt::Keyring;
use zstream_dsl::{Dsl, Named};
use zstream_format::token::ResumeToken;
use zstream_send::plan::{Base, ResumePoint, Source, SourcePool, StreamForm, StreamPlan};
use zstream_send::{Progress, Sent, send};
use zstream_zpl::settings::has_system_attributes;

/// A pool as the source of streams.
pub fn source_pool(pool: &Pool) -> SourcePool<'_> {
    SourcePool { features: pool.features(), has_system_attributes }
}

/// A pool opened for sending.
pub struct Sending {
    /// The pool.
    pub pool: Pool,
    /// Its datasets.
    pub dsl: Arc<Dsl>,
}

impl Sending {
    /// The pool on these members.
    pub fn open(members: &[PathBuf]) -> Self {
        Self::of(Pool::open(members, &OpenOptions::default()).unwrap())
    }

    /// An open pool.
    pub fn of(pool: Pool) -> Self {
        let keyring = Arc::new(Keyring::default());
        pool.reader().set_keys(Some(keyring.clone()));
        let dsl = Dsl::open(pool.name(), pool.mos().clone(), keyring).unwrap();
        Self { pool, dsl }
    }

    /// The pool as the source of streams.
    pub fn source(&self) -> SourcePool<'_> {
        source_pool(&self.pool)
    }

    /// Loads the key of an encrypted dataset with the passphrase of all golden data.
    pub fn unlock(&self, dataset: &str) {
        self.dsl.load_key(&self.dsl.dir(dataset).unwrap(), b"correct horse").unwrap();
    }

    /// The plan of `zfs send` with these words, of those that make one substream: `-L -e -c -w -i BASE --redact BOOKMARK`.
    pub fn plan(&self, words: &str) -> StreamPlan {
        let words: Vec<&str> = words.split_whitespace().collect();
        let has = |flag| words.contains(&flag);
        let value = |flag| words.iter().position(|word| *word == flag).map(|at| words[at + 1]);
        let name = *words.last().unwrap();
        let filesystem = name.split('@').next().unwrap();
        let dataset = self.dsl.dataset(name).unwrap();
        let mut plan = StreamPlan::new(Source::open(&dataset, self.source(), has("-w")).unwrap());
        plan.form.large_blocks = has("-L");
        plan.form.embedded = has("-e");
        plan.form.compressed = has("-c");
        plan.form.raw = has("-w");
        plan.base = value("-i").map(|base| {
            let base =
                if base.starts_with(['@', '#']) { format!("{filesystem}{base}") } else { base.to_owned() };
            let is_origin = !base.starts_with(filesystem);
            let base = match self.dsl.find(&base).unwrap() {
                Named::Dataset(snapshot) => Base::snapshot(&snapshot).unwrap(),
                Named::Bookmark(bookmark) => Base::bookmark(&bookmark, &self.dsl).unwrap(),
            };
            if is_origin { base.origin() } else { base }
        });
        plan.redact = value("--redact").map(|bookmark| {
            let head = self.dsl.dataset(filesystem).unwrap();
            let bookmark = head.bookmark(bookmark).unwrap().unwrap();
            Arc::new(bookmark.redaction_list(&head).unwrap().unwrap())
        });
        plan
    }

    /// The plan of `zfs send -S` of what a receive has left.
    pub fn saved_plan(&self, name: &str) -> StreamPlan {
        let dataset = self.dsl.dataset(name).unwrap();
        let token = dataset.resume_token().unwrap().unwrap();
        let source = Source::open(&dataset, self.source(), token.raw).unwrap();
        let mut plan = StreamPlan::new(source.saved(Guid(token.to_guid), token.to_name.to_str().unwrap()));
        plan.form = form(&token);
        plan
    }
}

/// Makes a plan that of the stream's rest, as a token wants it.
pub fn resume(plan: &mut StreamPlan, token: &ResumeToken) {
    plan.form = form(token);
    plan.resume = Some(ResumePoint { object: ObjectId(token.object), offset: token.offset });
}

fn form(token: &ResumeToken) -> StreamForm {
    StreamForm {
        large_blocks: token.large_blocks,
        embedded: token.embedded,
        compressed: token.compressed,
        raw: token.raw,
    }
}

/// The stream of a plan.
pub fn stream(plan: &StreamPlan) -> (Vec<u8>, Sent) {
    let mut out = Vec::new();
    let sent = send(plan, &mut out, &Progress::default()).unwrap();
    (out, sent)
}
