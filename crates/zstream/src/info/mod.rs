//! The [summary](zstream_format::summary) of a stream as text, and the parts of it that are not read from one field.

mod resume;
mod text;

use zstream_format::algorithm::CryptSuite;
use zstream_format::nvlist::NvValue;
use zstream_format::record::RecordType;
use zstream_format::summary::Snapshot;

pub use self::resume::{not_resumable, resume_text};
pub use self::text::summary_text;

/// The suite and the key format of a raw snapshot, from the list of its BEGIN record.
#[must_use]
pub fn encryption(snapshot: &Snapshot) -> Option<(CryptSuite, &'static str)> {
    let key = snapshot.list.as_ref()?.get_list("crypt_keydata")?;
    let suite = key.get_u64("DSL_CRYPTO_SUITE").and_then(|suite| u8::try_from(suite).ok()).unwrap_or(0);
    let format = match key.get_u64("keyformat") {
        Some(1) => "raw",
        Some(2) => "hex",
        Some(3) => "passphrase",
        _ => "unknown",
    };
    Some((CryptSuite(suite), format))
}

/// The value of a property in a package as text.
#[must_use]
pub(crate) fn property_text(value: &NvValue) -> String {
    match value {
        NvValue::String(text) => text.to_string(),
        NvValue::Uint64(number) => number.to_string(),
        other => format!("({})", other.data_type()),
    }
}

/// The types of the records of a snapshot, with the number of each.
pub(crate) fn record_counts(snapshot: &Snapshot) -> impl Iterator<Item = (RecordType, u64)> {
    RecordType::ALL.into_iter().zip(snapshot.records).filter(|(_, count)| *count > 0)
}

#[cfg(test)]
mod tests {
    use zstream_format::nvlist::NvString;

    use super::*;

    #[test]
    fn values_are_text_or_named_by_their_type() {
        assert_eq!(property_text(&NvValue::Uint64(7)), "7");
        assert_eq!(property_text(&NvValue::String(NvString::from("on"))), "on");
        assert!(property_text(&NvValue::Boolean).starts_with('('));
    }
}
