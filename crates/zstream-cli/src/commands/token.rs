//! `zstream token`: the content of a resume token.

use std::io::Write as _;

use zstream_format::token;

use crate::failure::Failure;
use crate::output;

/// Prints the content of a resume token
///
/// An interrupted receive (`zfs receive -s`) leaves a token, with which `zfs send -t` resumes the send.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Example:
  zstream token $(zfs get -H -o value receive_resume_token pool/fs)")]
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
