//! Resume tokens.
