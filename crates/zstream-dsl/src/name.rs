//! Names of datasets, snapshots and bookmarks: `pool/fs@snap`, `pool/fs#mark`.

use std::fmt;

use crate::error::{Fault, Result};

/// The maximum length of a full name in bytes, without its NUL (`ZFS_MAX_DATASET_NAME_LEN - 1`).
pub const NAME_BYTES_MAX: usize = 255;

/// The part after the name of a filesystem or volume.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Suffix {
    /// Nothing: the head dataset.
    None,
    /// `@name`
    Snapshot(String),
    /// `#name`
    Bookmark(String),
}

/// A parsed name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    /// `pool/fs`
    pub filesystem: String,
    /// The part after it.
    pub suffix: Suffix,
}

impl Name {
    /// Parses and validates a name by `zfs`'s rules. Names that ZFS itself creates (`%recv`, `$MOS`) are valid.
    ///
    /// # Errors
    /// Fails with the rule that the name breaks, as `EINVAL`.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |why: &str| Err(Fault::BadName(format!("{text:?} is not a dataset name: {why}")).into());
        if text.len() > NAME_BYTES_MAX {
            return bad("it is longer than 255 bytes");
        }
        let (filesystem, suffix) = match text.find(['@', '#']) {
            None => (text, Suffix::None),
            Some(at) => {
                let rest = text[at + 1..].to_owned();
                let is_snapshot = text.as_bytes()[at] == b'@';
                (&text[..at], if is_snapshot { Suffix::Snapshot(rest) } else { Suffix::Bookmark(rest) })
            }
        };
        if let Suffix::Snapshot(last) | Suffix::Bookmark(last) = &suffix
            && let Some(why) = judge(last)
        {
            return bad(why);
        }
        match filesystem.split('/').find_map(judge) {
            Some(why) => bad(why),
            None => Ok(Self { filesystem: filesystem.to_owned(), suffix }),
        }
    }

    /// Returns the name of the pool.
    #[must_use]
    pub fn pool(&self) -> &str {
        self.filesystem.split('/').next().unwrap_or_default()
    }
}

/// Returns the rule that one part of a name breaks, if any.
fn judge(part: &str) -> Option<&'static str> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.: %$".contains(c);
    if part.is_empty() {
        Some("a part of it is empty")
    } else if part == "." || part == ".." {
        Some("a part of it is . or ..")
    } else if !part.chars().all(allowed) {
        Some("it contains a character that is not allowed")
    } else {
        None
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.filesystem)?;
        match &self.suffix {
            Suffix::None => Ok(()),
            Suffix::Snapshot(name) => write!(f, "@{name}"),
            Suffix::Bookmark(name) => write!(f, "#{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_print_as_they_were_parsed() {
        for text in ["tank", "tank/fs", "tank/a b/c:d@s-1", "tank/fs#mark", "tank/fs/%recv"] {
            assert_eq!(Name::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Name::parse("tank/fs@s").unwrap().pool(), "tank");
    }

    #[test]
    fn bad_names_say_why() {
        for (text, why) in [
            ("", "empty"),
            ("tank//fs", "empty"),
            ("tank/fs@", "empty"),
            ("tank/../x", ".."),
            ("tank/fs@a@b", "not allowed"),
            ("tank/f\u{e9}", "not allowed"),
            (&"x".repeat(256), "255"),
        ] {
            let error = Name::parse(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
