//! The start of a receive: the dataset that is filled, with its state, its keys and its object set.

use std::io::Read;

use zstream_dmu::error::{Error as PoolError, Fault as PoolFault};
use zstream_dmu::ids::{Guid, ObjectId};
use zstream_dmu::objset::ObjsetWriter;
use zstream_dmu::pool::history::Event;
use zstream_dsl::CryptoKey;
use zstream_dsl::write::{Filling, Resumable};
use zstream_format::flags::{BeginFlags, FeatureFlags};
use zstream_format::object_type::ObjsetType;

use super::group::Group;
use super::{Assignment, Job, Receiving};
use crate::apply::Apply;
use crate::error::Result;
use crate::input::{Input, Opening};
use crate::refusal::Refusal;
use crate::rules::{Destination, Encryption, Head, KeyData, Target, pool_feature};

/// The dataset that a receive fills.
struct Filled {
    /// The dataset, or the hidden clone that replaces `head`.
    object: ObjectId,
    head: Option<ObjectId>,
    is_resumed: bool,
    /// `true` if a full stream is received over the content of an origin.
    is_full_clone: bool,
}

impl Receiving<'_> {
    /// Creates or finds the dataset to fill, and puts it on disk, marked inconsistent.
    pub(super) fn begin<R: Read>(
        &mut self,
        input: &Input<R>,
        opening: &Opening,
        target: &Target,
        destination: Destination,
        settings: &[Assignment],
    ) -> Result<Job> {
        let raw = opening.head().has(FeatureFlags::RAW);
        let keys = match (&opening.list, raw) {
            (Some(list), true) => Some(KeyData::parse(list)?),
            _ => None,
        };
        let filled = self.filled(opening, target, destination)?;
        let (mut bytes_before, mut warnings) = (0, Vec::new());
        if filled.is_resumed {
            bytes_before = self.pool.dsl().dataset_by_object(filled.object)?.receive_number("bytes")?;
        } else {
            warnings = self.mark(&filled, opening, target, settings)?;
        }
        warnings.extend(self.raw_base_warning(&filled, opening, target)?);
        // A clone has the keys of its origin, which stay as they are until everything was received.
        if let (Some(keys), None) = (&keys, filled.head)
            && self.pool.dsl().dataset_by_object(filled.object)?.dir().origin()?.is_none()
        {
            self.pool.tx().receive_keys(filled.object, keys.data.format, &keys.data.wrapped)?;
        }
        let set = self.open_set(&filled, opening, keys.as_ref())?;
        let limits = self.limits()?;
        Ok(Job {
            filled: filled.object,
            head: filled.head,
            set,
            apply: Apply::new(&opening.begin, limits, opening.header.order()),
            keeps_point: filled.is_resumed || target.resumable,
            is_kept: target.resumable,
            is_full_clone: filled.is_full_clone,
            point: None,
            bytes_before,
            has_large_dnodes: false,
            keys,
            group: Group::new(input.offset()),
            warnings,
            detached: Vec::new(),
        })
    }

    /// Creates the dataset or hidden clone to fill, or finds the one that an earlier receive has filled in part.
    fn filled(&mut self, opening: &Opening, target: &Target, destination: Destination) -> Result<Filled> {
        let begin = &opening.begin;
        let is_insensitive = begin.flags.contains(BeginFlags::CI_DATA);
        Ok(match destination {
            Destination::New { origin: Some(origin) } => {
                let object = self.pool.create_received_clone(origin, &target.dataset)?;
                self.use_key(object, origin);
                let is_full_clone = begin.from_guid == Guid(0);
                Filled { object, head: None, is_resumed: false, is_full_clone }
            }
            Destination::New { origin: None } => {
                let object = self.pool.tx().create(&target.dataset, is_insensitive)?;
                if !opening.head().has(FeatureFlags::RAW) {
                    self.encrypt(object, &target.encryption)?;
                }
                Filled { object, head: None, is_resumed: false, is_full_clone: false }
            }
            Destination::Existing { head, base } => {
                let object = self.pool.create_receive_child(head, base, is_insensitive)?;
                self.use_key(object, head);
                Filled { object, head: Some(head), is_resumed: false, is_full_clone: false }
            }
            Destination::Resume { filled: object, head } => {
                if let Some(head) = head {
                    self.use_key(object, head);
                }
                Filled { object, head, is_resumed: true, is_full_clone: false }
            }
            Destination::Heal { .. } => return Err(Refusal::HealWith("a dataset to fill").into()),
        })
    }

    /// Marks a new dataset as inconsistent, and sets the properties that apply while it is filled. Returns warnings
    /// about those that were refused.
    fn mark(
        &mut self,
        filled: &Filled,
        opening: &Opening,
        target: &Target,
        settings: &[Assignment],
    ) -> Result<Vec<String>> {
        self.pool.tx().begin_receive(filled.object, &filling(opening.head(), target))?;
        if filled.head.is_none() {
            let early = settings.iter().filter(|assignment| !assignment.is_delayed());
            return self.assign(filled.object, early);
        }
        let writing: Vec<_> = settings.iter().filter_map(Assignment::for_writing).collect();
        // The same properties are set on the head at the end, with warnings then.
        self.assign(filled.object, writing.iter())?;
        Ok(Vec::new())
    }

    /// Returns a warning if an increment that is not raw follows a snapshot that was received raw.
    fn raw_base_warning(
        &mut self,
        filled: &Filled,
        opening: &Opening,
        target: &Target,
    ) -> Result<Option<String>> {
        let follows = (filled.head.is_some() || filled.is_resumed) && opening.begin.from_guid != Guid(0);
        if opening.head().has(FeatureFlags::RAW) || !follows {
            return Ok(None);
        }
        let base = self.pool.tx().raw_base(filled.object)?;
        Ok(base.map(|base| {
            format!(
                "{base} was received raw: this increment is not raw, so that no later raw increment from the sender fits {}",
                target.dataset
            )
        }))
    }

    /// Opens the object set for writing. It and its dataset are on disk before the first record is applied.
    fn open_set(
        &mut self,
        filled: &Filled,
        opening: &Opening,
        keys: Option<&KeyData>,
    ) -> Result<ObjsetWriter> {
        let object = filled.object;
        let (is_empty, name) = {
            let dataset = self.pool.dsl().dataset_by_object(object)?;
            (dataset.phys().root.is_hole(), dataset.name().to_owned())
        };
        let objset_type = ObjsetType(opening.begin.objset_type);
        let mut set = match (is_empty, opening.head().has(FeatureFlags::RAW)) {
            (true, true) => self.pool.create_kept_set(object, objset_type)?,
            (true, false) => self.pool.create_set(object, objset_type)?,
            (false, true) => self.pool.open_kept_head(object)?,
            (false, false) => self.pool.open_head(object)?,
        };
        if let Some(keys) = keys {
            set.set_raw_head(&keys.data)?;
        }
        let what = if filled.is_resumed { "resume receive" } else { "receive" };
        self.pool.log(Event::Internal(what, &format!("{name} ({object})")))?;
        self.pool.sync(object, &mut set)?;
        self.commit()?;
        Ok(set)
    }

    /// Reads and writes a dataset with the key of the dataset that it starts from, if that key is loaded.
    fn use_key(&mut self, filled: ObjectId, from: ObjectId) {
        if let Some(key) = self.pool.keyring().get(from.0) {
            self.pool.add_key(filled, &key);
        }
    }

    /// Gives keys to a new dataset that has to be encrypted. They are wrapped by a key of its own, or by the key of the
    /// dataset above it.
    fn encrypt(&mut self, filled: ObjectId, encryption: &Encryption) -> Result<()> {
        let above = {
            let filled = self.pool.dsl().dataset_by_object(filled)?;
            filled.dir().parent().map(|parent| CryptoKey::of(parent)).transpose()?.flatten()
        };
        let (suite, own) = match (encryption, &above) {
            (Encryption::Off, _) | (Encryption::Inherit, None) => return Ok(()),
            (Encryption::Inherit, Some(above)) => (above.wrapped.suite, None),
            (Encryption::On { suite, own }, _) => {
                let suite = suite.or(above.as_ref().map(|above| above.wrapped.suite));
                (suite.ok_or(Refusal::KeyMissing("no dataset above has a key"))?, own.as_ref())
            }
        };
        let locked = || PoolError::from(PoolFault::Encrypted { what: "the dataset above".to_owned() });
        let wrapping = match (own, above) {
            (Some(own), _) => own.wrapping.clone(),
            (None, Some(above)) => self.pool.wrapping(above.root)?.ok_or_else(locked)?,
            (None, None) => return Err(Refusal::KeyMissing("no dataset above has a key").into()),
        };
        let location = own.map(|own| own.location.as_str());
        Ok(self.pool.encrypt(filled, suite, &wrapping, location)?)
    }
}

/// Returns the marks of a dataset that is filled, and of a receive that can be resumed.
fn filling(head: Head<'_>, target: &Target) -> Filling {
    let has = |feature| head.has(feature);
    let begin = head.begin;
    // `large_dnode` and the features of algorithms are activated by the first block or object that uses them. The
    // sender used these features at least once. A later receiver has to know them, even if nothing that uses them is
    // left (OpenZFS 2.4.1).
    let active = [FeatureFlags::LARGE_BLOCKS, FeatureFlags::LONGNAME, FeatureFlags::LARGE_MICROZAP];
    let redacted = has(FeatureFlags::REDACTED);
    Filling {
        redactions: redacted.then(|| head.redact_snaps().unwrap_or_default().to_vec()),
        features: active.into_iter().filter(|flag| has(*flag)).filter_map(pool_feature).collect(),
        resumable: target.resumable.then(|| Resumable {
            from_guid: begin.from_guid,
            to_guid: begin.to_guid,
            to_name: begin.name().to_vec(),
            large_blocks: has(FeatureFlags::LARGE_BLOCKS),
            embedded: has(FeatureFlags::EMBED_DATA),
            compressed: has(FeatureFlags::COMPRESSED),
            raw: has(FeatureFlags::RAW),
            from_redactions: head.redact_from_snaps().map(<[u64]>::to_vec),
        }),
    }
}
