//! Datasets and snapshots that are selected by patterns.

use globset::{GlobBuilder, GlobMatcher};

use crate::error::SyncFault;

/// A selection of datasets and snapshots of the source. A pattern without an `@` selects datasets, each with all below it.
/// `@PATTERN` selects snapshots by their names after the `@`, and `DATASETS@PATTERN` those of some datasets. `*` and `?`
/// stand for characters other than the slash, `**` for any components. What is excluded is excluded in any case.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    include: Patterns,
    exclude: Patterns,
}

#[derive(Clone, Debug, Default)]
struct Patterns {
    datasets: Vec<GlobMatcher>,
    /// Datasets, or all of them, and names of snapshots.
    snapshots: Vec<(Option<GlobMatcher>, GlobMatcher)>,
}

impl Patterns {
    fn new(patterns: &[String]) -> Result<Self, SyncFault> {
        let mut new = Self::default();
        for pattern in patterns {
            let glob = |text: &str| {
                let glob = GlobBuilder::new(text).literal_separator(true).build();
                glob.map(|glob| glob.compile_matcher()).map_err(|error| SyncFault::BadPattern {
                    pattern: pattern.clone(),
                    reason: error.kind().to_string(),
                })
            };
            match pattern.split_once('@') {
                None => new.datasets.push(glob(pattern)?),
                Some(("", short)) => new.snapshots.push((None, glob(short)?)),
                Some((dataset, short)) => new.snapshots.push((Some(glob(dataset)?), glob(short)?)),
            }
        }
        Ok(new)
    }

    /// True if a dataset or one above it is selected.
    fn has_dataset(&self, name: &str) -> bool {
        let above = name.match_indices('/').map(|(end, _)| &name[..end]);
        above.chain([name]).any(|name| self.datasets.iter().any(|glob| glob.is_match(name)))
    }

    fn has_snapshot(&self, dataset: &str, short: &str) -> bool {
        self.snapshots.iter().any(|(datasets, names)| {
            datasets.as_ref().is_none_or(|datasets| datasets.is_match(dataset)) && names.is_match(short)
        })
    }
}

impl Filter {
    /// The selection of what matches one of `include`, or everything if there is none, without what matches one of
    /// `exclude`.
    ///
    /// # Errors
    /// A pattern is not valid.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self, crate::Error> {
        Ok(Self { include: Patterns::new(include)?, exclude: Patterns::new(exclude)? })
    }

    pub(super) fn has_dataset(&self, name: &str) -> bool {
        let is_included = self.include.datasets.is_empty() || self.include.has_dataset(name);
        is_included && !self.exclude.has_dataset(name)
    }

    pub(super) fn has_snapshot(&self, dataset: &str, short: &str) -> bool {
        let is_included = self.include.snapshots.is_empty() || self.include.has_snapshot(dataset, short);
        is_included && !self.exclude.has_snapshot(dataset, short)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_select_datasets_and_snapshots() {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        for (include, exclude, name, expected) in [
            ("", "", "tank/a", true),
            ("", "tank/*", "tank", true),
            ("", "tank/*", "tank/a/b", false),
            ("", "*/tmp", "tank/a/tmp", true),
            ("", "**/tmp", "tank/a/tmp/x", false),
            ("", "tank/a", "tank/ab", true),
            ("tank/{a,b}", "", "tank/b/c", true),
            ("tank/{a,b}", "", "tank/c", false),
            ("tank/a", "tank/a/b", "tank/a/b", false),
            ("", "@hourly-*", "tank@hourly-1", false),
            ("", "tank/*@hourly-*", "tank/a@hourly-1", false),
            ("", "tank/b@hourly-*", "tank/a@hourly-1", true),
            ("@daily-*", "", "tank/a@hourly-1", false),
            ("@daily-*", "", "tank/a", true),
        ] {
            let filter = Filter::new(&words(include), &words(exclude)).unwrap();
            let found = match name.split_once('@') {
                Some((dataset, short)) => filter.has_snapshot(dataset, short),
                None => filter.has_dataset(name),
            };
            assert_eq!(found, expected, "{include:?} {exclude:?} {name}");
        }
        assert!(Filter::new(&words("tank/[a"), &[]).is_err());
    }
}
