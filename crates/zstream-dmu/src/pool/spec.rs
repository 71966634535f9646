//! The specification of a new pool: its name and its vdevs, in the syntax of `zpool create`.

mod draid;

use self::draid::DraidWord;
use crate::error::{Error, Fault, Result};
pub(crate) use crate::vdev::Shape;
use crate::vdev::raidz::PARITY_MAX;

/// The maximum length of a pool name. It leaves space for the names of the datasets that every pool has.
const NAME_BYTES_MAX: usize = 239;

/// The allocation class of a top-level vdev.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum VdevClass {
    /// All data.
    #[default]
    Normal,
    /// Metadata.
    Special,
    /// Deduplication tables.
    Dedup,
    /// Intent logs.
    Log,
}

impl VdevClass {
    /// The keyword before vdevs in `zpool create`, which is also the value in the properties of vdevs.
    #[must_use]
    pub fn bias(self) -> Option<&'static str> {
        match self {
            Self::Normal => None,
            Self::Special => Some("special"),
            Self::Dedup => Some("dedup"),
            Self::Log => Some("log"),
        }
    }
}

/// A top-level vdev. Its members are paths at first, and opened devices later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopSpec<L> {
    /// The allocation class.
    pub class: VdevClass,
    /// The redundancy: single, mirror, raidz or dRAID.
    pub shape: Shape,
    /// The members.
    pub leaves: Vec<L>,
}

impl<L> TopSpec<L> {
    /// Returns the same vdev with `open` applied to its members.
    ///
    /// # Errors
    /// Fails with the first error of `open`.
    #[cfg(feature = "testing")]
    pub fn try_map<M>(self, open: impl FnMut(L) -> Result<M>) -> Result<TopSpec<M>> {
        let leaves = self.leaves.into_iter().map(open).collect::<Result<_>>()?;
        Ok(TopSpec { class: self.class, shape: self.shape, leaves })
    }
}

enum Word {
    Shape(Shape),
    Draid(DraidWord),
    Class(VdevClass),
    Member,
}

fn classify(word: &str) -> Result<Word> {
    Ok(match word {
        "mirror" => Word::Shape(Shape::Mirror),
        "raidz" => Word::Shape(Shape::Raidz(1)),
        "special" => Word::Class(VdevClass::Special),
        "dedup" => Word::Class(VdevClass::Dedup),
        "log" => Word::Class(VdevClass::Log),
        "spare" => return Err(Error::unsupported("hot spare in a new pool")),
        "cache" => return Err(Error::unsupported("cache device in a new pool")),
        _ if let Some(rest) = word.strip_prefix("draid")
            && (rest.is_empty() || rest.starts_with(|c: char| c == ':' || c.is_ascii_digit()))
            && !rest.contains(['/', '.']) =>
        {
            Word::Draid(DraidWord::parse(word, rest)?)
        }
        _ => match word.strip_prefix("raidz").map(str::parse) {
            Some(Ok(parity @ 1..=PARITY_MAX)) => Word::Shape(Shape::Raidz(parity)),
            Some(Ok(parity)) => {
                return Err(Error::bad_request(format!(
                    "parity of raidz{parity} is invalid, expected 1 to {PARITY_MAX}"
                )));
            }
            _ => Word::Member,
        },
    })
}

/// Parses the vdevs of a new pool: `a b`, `mirror a b mirror c d`, `raidz2 a b c d special mirror e f`,
/// `draid2:4d:11c:1s a b c d e f g h i j k`.
///
/// # Errors
/// Fails if a vdev has too few or too many members, if no vdev is for data, and if a type of vdev is not supported,
/// which it names.
pub fn parse_vdevs<S: AsRef<str>>(words: &[S]) -> Result<Vec<TopSpec<String>>> {
    let mut tops: Vec<TopSpec<String>> = Vec::new();
    let mut class = VdevClass::Normal;
    // Whether further members belong to the last vdev.
    let mut is_open = false;
    let mut seen = Vec::new();
    let mut draids = Vec::new();
    for word in words.iter().map(AsRef::as_ref) {
        match classify(word)? {
            Word::Class(new) => {
                if seen.contains(&new) {
                    return Err(Error::bad_request(format!("{word} is specified more than once")));
                }
                seen.push(new);
                (class, is_open) = (new, false);
            }
            Word::Draid(wanted) => {
                if class == VdevClass::Log {
                    return Err(Error::bad_request(format!(
                        "log vdev is of type {word}, expected single or mirror"
                    )));
                }
                draids.push((tops.len(), wanted));
                tops.push(TopSpec { class, shape: Shape::Single, leaves: Vec::new() });
                is_open = true;
            }
            Word::Shape(shape) => {
                if class == VdevClass::Log && shape != Shape::Mirror {
                    return Err(Error::bad_request(format!(
                        "log vdev is of type {shape}, expected single or mirror"
                    )));
                }
                tops.push(TopSpec { class, shape, leaves: Vec::new() });
                is_open = true;
            }
            Word::Member => {
                let member = word.to_owned();
                match tops.last_mut().filter(|_| is_open) {
                    Some(top) => top.leaves.push(member),
                    None => tops.push(TopSpec { class, shape: Shape::Single, leaves: vec![member] }),
                }
            }
        }
    }
    for (n, wanted) in draids {
        tops[n].shape = wanted.over(tops[n].leaves.len())?;
    }
    tops.iter().try_for_each(check_members)?;
    if !tops.iter().any(|top| top.class == VdevClass::Normal) {
        return Err(Error::bad_request(
            "no vdev for data: at least one that is not special, dedup or log is required",
        ));
    }
    let mut members: Vec<&str> = tops.iter().flat_map(|top| &top.leaves).map(String::as_str).collect();
    members.sort_unstable();
    if let Some(twice) = members.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Error::bad_request(format!("{} is specified twice", twice[0])));
    }
    Ok(tops)
}

/// Refuses a vdev with too few or too many members.
fn check_members(top: &TopSpec<String>) -> Result<()> {
    let (least, most) = top.shape.members().into_inner();
    let count = top.leaves.len();
    if count < least {
        return Err(Error::bad_request(format!(
            "{} vdev has {count} members, at least {least} are required",
            top.shape
        )));
    }
    if count > most {
        return Err(Error::bad_request(format!(
            "{} vdev has {count} members, at most {most} are allowed",
            top.shape
        )));
    }
    Ok(())
}

/// Refuses vdevs with different redundancy, because the weakest determines that of the pool.
///
/// # Errors
/// Fails if they differ, and names two such types.
pub fn check_redundancy<L>(tops: &[TopSpec<L>]) -> Result<()> {
    let tolerates = |top: &TopSpec<L>| top.shape.losses_allowed(top.leaves.len());
    let data: Vec<_> = tops.iter().filter(|top| top.class != VdevClass::Log).collect();
    for pair in data.windows(2) {
        if tolerates(pair[0]) != tolerates(pair[1]) {
            return Err(Error::bad_request(format!(
                "mismatched replication level: {} and {} vdevs may lose {} and {} members",
                pair[0].shape,
                pair[1].shape,
                tolerates(pair[0]),
                tolerates(pair[1])
            )));
        }
    }
    Ok(())
}

/// Refuses invalid pool names (`zpool_name_valid`).
///
/// # Errors
/// Fails if the name is invalid, and reports why.
pub fn check_name(name: &str) -> Result<()> {
    let bad = |why: &str| Err(Fault::BadName(format!("pool name {name:?} {why}")).into());
    if name.len() > NAME_BYTES_MAX {
        return bad(&format!("is {} bytes, at most {NAME_BYTES_MAX} are allowed", name.len()));
    }
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return bad("must begin with a letter");
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.: ".contains(c);
    if let Some(c) = name.chars().find(|c| !allowed(*c)) {
        return bad(&format!("contains the character {c:?}"));
    }
    if ["mirror", "raidz", "draid", "spare", "log"].iter().any(|word| name.starts_with(word)) {
        return bad("is reserved");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Result<Vec<TopSpec<String>>> {
        parse_vdevs(&words.split_whitespace().collect::<Vec<_>>())
    }

    fn message(words: &str) -> String {
        parse(words).unwrap_err().to_string()
    }

    #[test]
    fn vdevs_are_read_as_zpool_reads_them() {
        let tops = parse("a raidz2 b c d ./mirror special mirror e f log g").unwrap();
        let list: Vec<_> = tops.iter().map(|top| (top.class, top.shape, top.leaves.join(" "))).collect();
        let expected = [
            (VdevClass::Normal, Shape::Single, "a"),
            (VdevClass::Normal, Shape::Raidz(2), "b c d ./mirror"),
            (VdevClass::Special, Shape::Mirror, "e f"),
            (VdevClass::Log, Shape::Single, "g"),
        ];
        assert_eq!(list, expected.map(|(class, shape, leaves)| (class, shape, leaves.to_owned())));
        assert_eq!(parse("raidz a b").unwrap()[0].shape, Shape::Raidz(1));
        assert_eq!(parse("raidz.img").unwrap()[0].leaves, ["raidz.img"]);
    }

    #[test]
    fn impossible_vdevs_are_named() {
        assert_eq!(message("mirror a"), "mirror vdev has 1 members, at least 2 are required");
        assert_eq!(message("raidz2 a b"), "raidz2 vdev has 2 members, at least 3 are required");
        assert_eq!(message("raidz4 a b"), "parity of raidz4 is invalid, expected 1 to 3");
        assert!(message("special a").contains("no vdev for data"));
        assert!(message("").contains("no vdev for data"));
        assert_eq!(message("a log b log c"), "log is specified more than once");
        assert_eq!(message("a log raidz b c"), "log vdev is of type raidz1, expected single or mirror");
        assert_eq!(message("mirror a b a"), "a is specified twice");
        assert!(message("a spare b").contains("not supported"));
    }

    #[test]
    fn vdevs_of_different_redundancy_are_told_apart() {
        assert!(check_redundancy(&parse("mirror a b mirror c d log e").unwrap()).is_ok());
        assert!(check_redundancy(&parse("mirror a b raidz c d e").unwrap()).is_ok());
        let error = check_redundancy(&parse("mirror a b c").unwrap());
        assert!(error.is_ok());
        let error = check_redundancy(&parse("mirror a b special c").unwrap()).unwrap_err();
        assert!(error.to_string().contains("mirror and single vdevs may lose 1 and 0"), "{error}");
    }

    #[test]
    fn names_follow_the_rules() {
        for good in ["tank", "a-b_c.d:e f", &"x".repeat(239)] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "1a", "a/b", "a@b", "mirror", "raidz-7", "logs", "ä", "aä", &"x".repeat(240)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
