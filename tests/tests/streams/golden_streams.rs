//! Every golden stream: read, checked, taken apart and put together again.

use zstream_format::checksum::Checksum;
use zstream_format::record::{Body, Header};
use zstream_format::stream::{Fault, StreamReader, StreamWriter, Trailers};
use zstream_tests::edit::records;
use zstream_tests::golden;

/// Streams of half-received datasets (`zfs send -S`) have no END.
fn is_partial(name: &str) -> bool {
    name.ends_with("-saved")
}

/// All checksums are right, and every byte is vouched for. A saved stream says that it has no END.
#[test]
fn verify() {
    for name in golden::streams() {
        let bytes = golden::stream(&name);
        let mut reader = StreamReader::new(&bytes[..]);
        let end = loop {
            match reader.next() {
                Ok(Some(_)) => {}
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        match end {
            None => assert_eq!(reader.verified(), bytes.len() as u64, "{name}"),
            Some(error) => {
                assert!(is_partial(&name) && matches!(error.fault(), Fault::NoEnd), "{name}: {error}");
                assert_eq!(error.place().offset, bytes.len() as u64, "{name}");
            }
        }
        assert_eq!(end_is_missing(&bytes), is_partial(&name), "{name}");
    }
}

fn end_is_missing(bytes: &[u8]) -> bool {
    records(bytes).last().is_none_or(|(header, _)| !matches!(header.body(), Some(Body::End(_))))
}

/// Every record parsed into its fields and encoded from them has the same 312 bytes.
#[test]
fn parse_then_encode() {
    for name in golden::streams() {
        for (at, (header, _)) in records(&golden::stream(&name)).iter().enumerate() {
            let body = header.body().expect("a known type");
            let mut made = Header::new(body, header.order());
            made.set_payload_len_field(header.payload_len_field());
            if !matches!(body, Body::Begin(_)) {
                made.set_trailer(header.trailer());
            }
            assert!(made.as_bytes() == header.as_bytes(), "{name}, record {at}: {header:?}");
        }
    }
}

/// With every checksum wiped and computed anew, each stream is what OpenZFS wrote. The rule of today's senders
/// gives the same bytes as keeping what was there.
#[test]
fn checksums_recomputed() {
    for name in golden::streams() {
        let bytes = golden::stream(&name);
        let mut writer = StreamWriter::new(Vec::with_capacity(bytes.len())).trailers(Trailers::Modern);
        for (mut header, payload) in records(&bytes) {
            if let Some(Body::End(mut end)) = header.body() {
                end.checksum = Checksum::default();
                header.set_body(end);
            }
            if !matches!(header.body(), Some(Body::Begin(_))) {
                header.set_trailer(Checksum::default());
            }
            writer.write(&header, &payload).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
        assert!(writer.into_inner() == bytes, "{name}");
    }
}
