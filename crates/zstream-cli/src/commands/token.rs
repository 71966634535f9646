//! `zstream token`: what a resume token says.

use std::io::Write as _;

use zstream_format::token;

use crate::failure::Failure;
use crate::output;

/// The argument of `zstream token`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The value of a dataset's property receive_resume_token
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
