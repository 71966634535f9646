//! dRAID vdevs in the syntax of `zpool create`.

use crate::error::{Error, Result};
use crate::vdev::raidz::PARITY_MAX;
use crate::vdev::{Shape, draid};

/// A dRAID vdev as requested. What is missing follows from the number of members.
pub(super) struct DraidWord {
    parity: usize,
    data: Option<usize>,
    children: Option<usize>,
    spares: usize,
}

impl DraidWord {
    /// Parses `draid[PARITY][:DATAd][:CHILDRENc][:SPARESs]`, with the numbers in any order.
    pub(super) fn parse(word: &str, rest: &str) -> Result<Self> {
        let bad = |why: &str| Err(Error::bad_request(format!("{word} {why}")));
        let mut parts = rest.split(':');
        let parity = match parts.next().unwrap_or_default() {
            "" => 1,
            text => match text.parse() {
                Ok(parity @ 1..=PARITY_MAX) if !text.starts_with(['0', '+']) => parity,
                _ => return bad(&format!("has an invalid parity, expected 1 to {PARITY_MAX}")),
            },
        };
        let mut wanted = Self { parity, data: None, children: None, spares: 0 };
        for part in parts {
            let digits = part.trim_end_matches(|c: char| !c.is_ascii_digit());
            let number = digits.parse().ok().filter(|_| !digits.starts_with('+'));
            match (number, &part[digits.len()..]) {
                (Some(number), "d" | "D") => wanted.data = Some(number),
                (Some(number), "c" | "C") => wanted.children = Some(number),
                (Some(number), "s" | "S") => wanted.spares = number,
                (Some(_), "w" | "W") => return Err(Error::unsupported("dRAID with failure domains")),
                _ => return bad("is not a dRAID vdev, expected draid[PARITY][:DATAd][:CHILDRENc][:SPARESs]"),
            }
        }
        Ok(wanted)
    }

    /// Returns the shape over this number of members (`draid_config_by_type`).
    pub(super) fn over(&self, members: usize) -> Result<Shape> {
        let Self { parity, data, children, spares } = *self;
        let bad = |why: String| Err(Error::bad_request(format!("draid{parity} vdev: {why}")));
        if let Some(children) = children
            && children != members
        {
            return bad(format!("{children} members are required, {members} are given"));
        }
        let (least, most) = draid::MEMBERS.into_inner();
        let needed = parity.saturating_add(spares).saturating_add(data.unwrap_or(1)).max(least);
        if members < needed {
            return bad(format!("{members} members are given, at least {needed} are required"));
        }
        if members > most || spares > draid::SPARES_MAX {
            let max = draid::SPARES_MAX;
            return bad(format!("at most {most} members and {max} distributed spares are allowed"));
        }
        let data = data.unwrap_or_else(|| (members - parity - spares).min(draid::DATA_DEFAULT_MAX));
        if data == 0 {
            return bad("a group has no data".to_owned());
        }
        Ok(Shape::Draid(draid::Numbers { children: members, parity, data, spares }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{TopSpec, parse_vdevs};
    use super::*;

    fn parse(words: &str) -> Result<Vec<TopSpec<String>>> {
        parse_vdevs(&words.split_whitespace().collect::<Vec<_>>())
    }

    fn message(words: &str) -> String {
        parse(words).unwrap_err().to_string()
    }

    #[test]
    fn draid_is_read_as_zpool_reads_it() {
        let shape = |words: &str| parse(words).unwrap()[0].shape.to_string();
        assert_eq!(shape("draid a b c d e"), "draid1:4d:5c:0s");
        assert_eq!(shape("draid2:1s a b c d e"), "draid2:2d:5c:1s");
        assert_eq!(shape("draid2:4d:11c:1s a b c d e f g h i j k"), "draid2:4d:11c:1s");
        assert_eq!(shape("draid3:2S:3D:10C a b c d e f g h i j"), "draid3:3d:10c:2s");
        let many = (0..30).map(|n| format!(" m{n}")).collect::<String>();
        assert_eq!(shape(&format!("draid{many}")), "draid1:8d:30c:0s");
        let Shape::Draid(numbers) = parse("draid2:4d:1s a b c d e f g h i").unwrap()[0].shape else {
            panic!("another shape")
        };
        assert_eq!(numbers.groups_min(), 4, "of 6 columns over 8 members");
        // A file can have such a name.
        assert_eq!(parse("draid.img ./draid2").unwrap()[1].leaves, ["./draid2"]);
        assert_eq!(shape("draidx"), "single");
    }

    #[test]
    fn impossible_draid_is_named() {
        assert_eq!(message("draid2:4d a"), "draid2 vdev: 1 members are given, at least 6 are required");
        assert_eq!(message("draid1:6c a b"), "draid1 vdev: 6 members are required, 2 are given");
        assert_eq!(message("draid:0d a b"), "draid1 vdev: a group has no data");
        assert!(message("draid4 a b").contains("invalid parity"));
        assert!(message("draid0 a b").contains("invalid parity"));
        assert!(message("draid01 a b").contains("invalid parity"));
        for word in [
            "draid1:",
            "draid1:d",
            "draid1:4",
            "draid1:4x",
            "draid1:-4d",
            "draid1:+4d",
            "draid:99999999999999999999d",
        ] {
            assert!(message(&format!("{word} a b")).contains("expected draid[PARITY]"), "{word}");
        }
        let many = (0..256).map(|n| format!(" m{n}")).collect::<String>();
        assert!(message(&format!("draid{many}")).contains("at most 255"));
        assert!(
            message(&format!("draid:101s{many}").replace(" m255", "")).contains("100 distributed spares")
        );
        assert!(message("draid1:18446744073709551615d a b").contains("at least"));
        assert!(message("draid1:2d:5c:10w a b").contains("failure domains is not supported"));
        assert!(message("a log draid b c").contains("expected single or mirror"));
    }
}
