//! The options that `list` and `get` share.

use zstream_dsl::prop::Types;

/// The options that `list` and `get` share.
#[derive(Debug, clap::Args)]
pub(crate) struct TableOptions {
    /// For scripts: omit the heading, separate columns by a single tab
    #[arg(short = 'H')]
    pub(crate) script: bool,
    /// Print exact numbers, and times in seconds since 1970
    #[arg(short = 'p')]
    pub(crate) literal: bool,
    /// Print JSON in the format of `zfs list -j` and `zfs get -j`
    #[arg(short = 'j', long, conflicts_with = "script")]
    pub(crate) json: bool,
    /// With --json: print numbers as numbers, exact; implies -p
    #[arg(long, requires = "json")]
    pub(crate) json_int: bool,
    /// Types to show, separated by commas: filesystem, snapshot, volume, bookmark, all
    #[arg(short = 't', value_name = "TYPE,...", value_parser = parse_types)]
    pub(crate) types: Option<Types>,
    /// Include all descendants
    #[arg(short = 'r')]
    pub(crate) recursive: bool,
    /// Limit the recursion to this depth; 1 shows the direct children only
    #[arg(short = 'd', value_name = "DEPTH")]
    pub(crate) depth: Option<usize>,
}

impl TableOptions {
    /// The depth of the recursion, if there is one.
    pub(crate) fn depth(&self) -> Option<usize> {
        self.depth.or(self.recursive.then_some(usize::MAX))
    }

    /// True if numbers are printed exact.
    pub(crate) fn is_literal(&self) -> bool {
        self.literal || self.json_int
    }
}

/// `-t`: kinds separated by commas.
fn parse_types(text: &str) -> Result<Types, String> {
    text.split(',').try_fold(Types::empty(), |types, name| {
        Ok(types
            | match name {
                "filesystem" | "fs" => Types::FILESYSTEM,
                "snapshot" | "snap" => Types::SNAPSHOT,
                "volume" | "vol" => Types::VOLUME,
                "bookmark" => Types::BOOKMARK,
                "all" => Types::all(),
                other => return Err(format!("invalid type '{other}'")),
            })
    })
}

/// The columns of `-o`; `all` stands for all of them.
pub(crate) fn fields<'a>(given: &'a [String], all: &[&'a str]) -> Vec<&'a str> {
    match given.iter().any(|field| field == "all") {
        true => all.to_vec(),
        false => given.iter().map(String::as_str).collect(),
    }
}
