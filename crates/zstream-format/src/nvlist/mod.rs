//! nvlists.
