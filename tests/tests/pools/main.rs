//! Pools opened, read, created and checked: labels, vdevs, object sets, transaction groups.

mod check;
mod check_sweep;
mod cloned;
mod commit;
mod created_pools;
mod crypt;
mod cut;
mod declustered;
mod found;
mod full;
mod ganged;
mod golden_labels;
mod golden_objects;
mod golden_pools;
mod hostile_labels;
mod hostile_mos;
mod intent_logs;
mod interop_objects;
mod loops;
mod lost_vdevs;
mod old_pools;
mod pool_create;
mod pool_properties;
mod rewritten;
mod shaped_pools;
mod whole_disks;
