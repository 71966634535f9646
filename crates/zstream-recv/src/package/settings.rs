//! Properties and holds of what is received: those of the package, and those that were requested.

use std::collections::HashSet;

use zstream_dsl::prop::Property;
use zstream_dsl::write::Setting;
use zstream_format::flags::{BeginFlags, FeatureFlags};
use zstream_format::summary::{Dataset as SentDataset, PackageSnapshot};

use super::makes_new;
use super::place::Placed;
use crate::engine::{Assignment, Receiving};
use crate::error::Result;
use crate::host::{Host, Note};
use crate::input::Opening;
use crate::refusal::Refusal;
use crate::request::Request;
use crate::rules::Encryption;
use crate::sent::{set_snapshot_properties, stored};

impl Receiving<'_> {
    /// Returns the properties that are set with a snapshot.
    pub(super) fn settings(&mut self, placed: &Placed<'_>, request: &Request) -> Result<Vec<Assignment>> {
        let head = self.pool().dsl().find_head(&placed.target.dataset)?;
        let received = match (placed.entry, &head) {
            (Some(_), Some(head)) => head.dir().received_names()?,
            _ => Vec::new(),
        };
        let mut list = placed.entry.map_or_else(Vec::new, |(sent, _)| of_package(sent, received, request));
        for name in &request.exclude {
            let is_set = match &head {
                Some(head) => head.dir().is_set_here(name)?,
                None => false,
            };
            let inherits = Property::find(name).is_none_or(|property| property.inherited);
            if !is_set && inherits {
                list.push(Assignment { name: name.clone(), setting: Setting::Inherited });
            }
        }
        for parsed in &request.set {
            // Datasets below keep their own value, or the received one, if there is nothing to inherit.
            let inherits = parsed.property.is_none_or(|property| property.inherited);
            if !placed.is_top && !inherits {
                continue;
            }
            let is_top = placed.is_top;
            let setting = if is_top { Setting::Local(parsed.value.clone()) } else { Setting::Inherited };
            list.push(Assignment { name: parsed.name.clone(), setting });
        }
        Ok(list)
    }

    /// Sets the properties and holds of a snapshot that was received.
    pub(super) fn finish_snapshot(
        &mut self,
        name: &str,
        sent: &PackageSnapshot,
        request: &Request,
        host: &mut dyn Host,
    ) -> Result<()> {
        if sent.properties.is_empty() && (sent.holds.is_empty() || request.without_holds) {
            return Ok(());
        }
        let mut tx = self.pool().tx();
        set_snapshot_properties(&mut tx, name, sent)?;
        if !request.without_holds {
            for (tag, _) in &sent.holds {
                let tag = tag.to_string();
                if let Err(error) = tx.hold(&tag, &[name.to_owned()]) {
                    host.note(Note::Warning(format!("cannot hold {name} as {tag}: {error}")));
                }
            }
        }
        self.commit()
    }
}

/// Returns the properties of a dataset in the package. Those that it received before and that are no longer sent are
/// forgotten.
fn of_package(entry: &SentDataset, received: Vec<String>, request: &Request) -> Vec<Assignment> {
    let mut list = Vec::new();
    let names: HashSet<String> = entry.properties.iter().map(|(name, _)| name.to_string()).collect();
    for name in received.into_iter().filter(|name| !names.contains(name)) {
        list.push(Assignment { name, setting: Setting::ForgetReceived });
    }
    for (name, value) in &entry.properties {
        let name = name.to_string();
        let is_excluded = request.exclude.contains(&name)
            && Property::find(&name).is_some_and(|property| !property.inherited);
        if let (Some(value), false) = (stored(value), is_excluded) {
            list.push(Assignment { name, setting: Setting::Received(value) });
        }
    }
    list
}

/// Returns how a new dataset is encrypted. A stream with properties is never of an encrypted dataset unless it is raw,
/// so that a missing encryption property means that it is not encrypted (`zfs_receive_one`, `zfs_setup_cmdline_props`).
pub(super) fn encryption(
    opening: &Opening,
    placed: &Placed<'_>,
    request: &Request,
    is_tree: bool,
) -> Result<Encryption, Refusal> {
    let (head, is_top, has_properties) = (opening.head(), placed.is_top, placed.entry.is_some());
    let is_clone = head.begin.flags.contains(BeginFlags::CLONE) || placed.target.origin.is_some();
    let makes_new = makes_new(head, is_clone);
    let is_raw = head.has(FeatureFlags::RAW);
    let has_location = request.set.iter().any(|parsed| parsed.name == "keylocation");
    if has_location && is_top && makes_new && !is_raw && !is_clone {
        return Err(Refusal::KeyMissing("keylocation is given without keyformat"));
    }
    match &request.encryption {
        Some(_) if is_raw => Err(Refusal::EncryptionGiven("the stream is raw")),
        Some(Encryption::On { .. } | Encryption::Off) if !makes_new && !is_tree => {
            Err(Refusal::EncryptionGiven("the stream is an increment"))
        }
        Some(Encryption::On { .. }) if is_clone && makes_new => {
            Err(Refusal::EncryptionGiven("a clone has the keys of its origin"))
        }
        Some(asked) if is_top && makes_new => Ok(asked.clone()),
        None if has_properties && makes_new && !is_raw => Ok(Encryption::Off),
        _ => Ok(Encryption::Inherit),
    }
}
