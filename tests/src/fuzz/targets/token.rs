//! Resume tokens.

use crate::golden;
use zstream_format::order::ByteOrder;
use zstream_format::token::{self, ResumeToken};

/// Real tokens, and the damaged ones that OpenZFS was asked about.
pub(super) fn corpus() -> Vec<Vec<u8>> {
    golden::token_cases().into_iter().map(|(_, token)| token.into_bytes()).collect()
}

/// What a token says is what the token made of it says. The list inside is damaged too, behind a right checksum: an
/// input that is no token is taken for the list of one.
pub(super) fn run(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input) {
        whole(text);
    }
    let Ok(decoded) = zstream_format::nvlist::NvList::decode(input) else { return };
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let text = token::encode(&decoded.list, order);
        text.iter().for_each(|text| whole(text));
    }
}

fn whole(text: &str) {
    let Ok(parsed) = ResumeToken::parse(text) else {
        drop(token::decode(text).map_err(|error| error.to_string()));
        return;
    };
    let made = parsed.encode().expect("what was parsed can be written");
    let again = ResumeToken::parse(&made).expect("what was written can be parsed");
    assert!(again.encode().is_ok_and(|twice| twice == made), "written, parsed and written");
    assert_eq!((again.object, again.offset, again.to_guid), (parsed.object, parsed.offset, parsed.to_guid));
    assert_eq!(again.print(), parsed.print());
}
