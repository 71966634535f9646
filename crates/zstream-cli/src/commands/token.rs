//! `zstream token`: the content of a resume token.

use std::io::Write as _;

use zstream_format::token;

use crate::failure::Failure;
use crate::output;

/// The argument of `zstream token`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Value of the property receive_resume_token of a dataset
    #[arg(value_name = "RESUME_TOKEN", allow_hyphen_values = true)]
    token: String,
}

impl Args {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let decoded = token::decode(&self.token)
            .map_err(|error| Failure::verbatim(format_args!("Unable to parse resume token: {error}")))?;
        let mut out = output::same_text()?;
        out.write_all(&token::print(&decoded.list))
            .and_then(|()| out.flush())
            .map_err(|error| Failure::output(&error))
    }
}
