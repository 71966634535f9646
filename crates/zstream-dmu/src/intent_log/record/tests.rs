//! Records of every kind, and mutations of them.

use proptest::prelude::*;

use zstream_format::order::ByteOrder;

use super::parse::{ATTRIBUTE_BYTES, ATTRIBUTE_WORDS, SLOTS_SHIFT};
use super::*;
use crate::blkptr::BLOCK_POINTER_BYTES;

const ORDER: ByteOrder = ByteOrder::Little;

fn header(kind: RecordKind, len: usize) -> LogRecord {
    LogRecord { kind: kind as u64, len: len as u64, txg: Txg(7), number: 3 }
}

/// Returns a record with these fields after its header, and these bytes after them.
fn record(kind: RecordKind, fields: &[u64], rest: &[u8]) -> Vec<u8> {
    let len = (LogRecord::LEN + 8 * fields.len() + rest.len()).next_multiple_of(8);
    let mut bytes = header(kind, len).to_bytes(ORDER).to_vec();
    fields.iter().for_each(|field| bytes.extend(field.to_le_bytes()));
    bytes.extend(rest);
    bytes.resize(len, 0);
    bytes
}

fn optional() -> Vec<u8> {
    let mut bytes = vec![0; ATTRIBUTE_BYTES];
    ORDER.put_u32(&mut bytes, ATTRIBUTE_WORDS);
    ORDER.put_u32(&mut bytes[4..], 0x4_0040);
    ORDER.put_u64(&mut bytes[16..], 0x40);
    ORDER.put_u64(&mut bytes[40..], 77);
    bytes
}

const CREATED: [u64; 9] = [34, 1 << SLOTS_SHIFT | 128, 0o100_644, 1000, 1001, 9, 11, 12, 0];

/// A valid record of a kind.
fn sample(kind: RecordKind) -> Vec<u8> {
    use RecordKind as K;
    let acl = [2, 1, 1, 12, 0];
    let acl_rest = |front: &[u8]| [front, &[1; 16], &[2; 8], b"S-1-5\0name\0"].concat();
    let pointer = [0_u64; 16];
    match kind {
        K::Create | K::Mkdir => record(kind, &CREATED, b"name\0"),
        K::MkXattr => record(kind, &CREATED, b"\0"),
        K::Symlink => record(kind, &CREATED, b"name\0target\0"),
        K::CreateAttr | K::MkdirAttr => record(kind, &CREATED, &[&optional()[..], b"name\0"].concat()),
        K::CreateAcl | K::MkdirAcl => record(kind, &[&CREATED[..], &acl].concat(), &acl_rest(&[])),
        K::CreateAclAttr | K::MkdirAclAttr => {
            record(kind, &[&CREATED[..], &acl].concat(), &acl_rest(&optional()))
        }
        K::Remove | K::Rmdir => record(kind, &[34], b"name\0"),
        K::Link => record(kind, &[34, 128], b"name\0"),
        K::Rename | K::Exchange => record(kind, &[34, 35], b"name\0other\0"),
        K::Whiteout => record(kind, &[&[34, 35], &CREATED[1..]].concat(), b"name\0other\0"),
        K::Write => record(kind, &[&[128, 512, 5, 0], &pointer[..]].concat(), b"bytes"),
        K::Write2 => record(kind, &[&[128, 512, 5, 0], &pointer[..]].concat(), &[]),
        K::Truncate => record(kind, &[128, 512, 5], &[]),
        K::SetAttributes => {
            record(kind, &[128, SetAttributes::OPTIONAL | 1, 0o600, 1, 2, 3, 4, 5, 6, 7], &optional())
        }
        K::AclV0 => record(kind, &[128, 1], &[0; 12]),
        K::Acl => record(kind, &[128, 1, 0, 0, 16, 0], &[0; 16]),
        K::SetXattr => record(kind, &[128, 5], b"user.note\0value"),
        K::Clone => record(kind, &[&[128, 0, 1024, 512, 2], &pointer[..], &pointer[..]].concat(), &[]),
    }
}

#[test]
fn every_kind_is_decoded() {
    for kind in RecordKind::ALL.iter().copied() {
        let found = Record::parse(&sample(kind), ORDER).unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        assert_eq!((found.kind, found.number, found.txg), (kind, 3, Txg(7)));
        assert!(found.to_string().starts_with(&format!("3 {}", kind.name())));
    }
    let change = |kind| Record::parse(&sample(kind), ORDER).unwrap().change;
    let Change::Create(created) = change(RecordKind::CreateAclAttr) else { panic!("a new file") };
    assert_eq!(
        (&created.name[..], created.node.object, created.node.slots),
        (&b"name"[..], ObjectId(128), 2)
    );
    assert_eq!((created.acl_entries, created.has_domains), (Some(2), true));
    assert_eq!(created.optional.map(|optional| (optional.mask, optional.project)), Some((0x4_0040, 77)));
    let Change::Create(link) = change(RecordKind::Symlink) else { panic!("a new link") };
    assert_eq!((&link.name[..], &link.target[..]), (&b"name"[..], &b"target"[..]));
    let Change::SetXattr { value, .. } = change(RecordKind::SetXattr) else { panic!("an attribute") };
    assert_eq!(value.as_deref(), Some(&b"value"[..]));
    let Change::Clone { pointers, .. } = change(RecordKind::Clone) else { panic!("clones") };
    assert_eq!(pointers.len(), 2);
    let Change::Write { content, .. } = change(RecordKind::Write) else { panic!("a write") };
    assert_eq!(content, Content::Inline(b"bytes".to_vec()));
}

#[test]
fn what_does_not_fit_is_named() {
    let fails = |bytes: &[u8]| Record::parse(bytes, ORDER).unwrap_err().to_string();
    assert!(fails(&[0; 31]).contains("record has 31 bytes"));
    for kind in RecordKind::ALL.iter().copied() {
        // Without its last bytes, at least one field, name, or pointer is incomplete.
        let bytes = sample(kind);
        let fields = &bytes[..LogRecord::LEN + 8];
        assert!(fails(fields).contains(&format!("record 3 ({}) has", kind.name())), "{kind:?}");
    }
    let mut bytes = sample(RecordKind::Create);
    bytes[0] = 25;
    assert!(fails(&bytes).contains("record 3 is of kind 0x19"));
    let mut bytes = sample(RecordKind::Clone);
    ORDER.put_u64(&mut bytes[64..], u64::MAX);
    assert!(fails(&bytes).contains("bytes of block pointers, but 256 remain"));
    let mut bytes = sample(RecordKind::SetAttributes);
    ORDER.put_u32(&mut bytes[112..], 4);
    assert!(fails(&bytes).contains("4 words of optional attributes, expected 3"));
}

proptest! {
    /// Whatever a record says of its lengths, none of its parts exceeds it, and it can be shown.
    #[test]
    fn any_bytes_give_a_record_or_an_error(
        kind in 0..RecordKind::ALL.len(),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        words in proptest::collection::vec((any::<prop::sample::Index>(), prop_oneof![
            Just(0_u64), Just(u64::MAX), Just(1 << 63), Just(1 << 32), 0_u64..300,
        ]), 0..4),
        cut in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
        big in any::<bool>(),
    ) {
        let mut bytes = sample(RecordKind::ALL[kind]);
        for (at, word) in words {
            let at = at.index(bytes.len() / 8) * 8;
            ORDER.put_u64(&mut bytes[at..], word);
        }
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let end = if is_cut { cut.index(bytes.len()) } else { bytes.len() };
        let order = if big { ByteOrder::Big } else { ByteOrder::Little };
        if let Ok(record) = Record::parse(&bytes[..end], order) {
            let _ = record.to_string();
            let held = match &record.change {
                Change::Create(created) => created.name.len() + created.target.len(),
                Change::Write { content: Content::Inline(bytes), .. } => bytes.len(),
                Change::SetXattr { name, value, .. } => name.len() + value.as_ref().map_or(0, Vec::len),
                Change::Clone { pointers, .. } => pointers.len() * BLOCK_POINTER_BYTES,
                _ => 0,
            };
            prop_assert!(held <= end);
        }
    }
}

zstream_format::round_trips! {
    LogCreate, LogAclHeader, LogRemove, LogLink, LogRename, LogWhiteout, LogWrite, LogTruncate,
    LogSetAttributes, LogSetXattr, LogAcl, LogClone
}
