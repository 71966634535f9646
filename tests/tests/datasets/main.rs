//! Datasets, snapshots, properties, accounts and keys: shown and changed.

mod accounts;
mod changed;
mod dataset_verbs;
mod errata;
mod golden_dsl;
mod history;
mod list;
mod looked;
mod pruned;
