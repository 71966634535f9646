//! The checks before a pool is opened for writing: of its devices, of the host that may use it, and of its content.

use super::WriteOptions;
use crate::error::{Error, Fault, Result};
use crate::ids::Guid;
use crate::pool::maintained::check_maintained;
use crate::pool::removed::check_removed;
use crate::pool::scan::Candidate;
use crate::pool::{Pool, VERSIONS, absent};
use crate::vdev::Vdev;
use crate::vdev::config::{PoolState, VdevConfig};
use crate::vdev::label::Role;

/// Refuses copies of members.
pub(super) fn check_devices(candidates: &[Candidate]) -> Result<()> {
    let mut seen: Vec<(Guid, &str)> = Vec::new();
    for candidate in candidates {
        let name = candidate.member.name.as_str();
        match candidate.labels.best(None).map(|label| &label.role) {
            Some(Role::Member(config)) => {
                let Some(guid) = config.guid else { continue };
                if let Some((_, other)) = seen.iter().find(|(seen, _)| *seen == guid) {
                    return Err(Error::bad_request(format!(
                        "{name} and {other} are the same member of pool {}, so one must be a copy",
                        config.name
                    )));
                }
                seen.push((guid, name));
            }
            Some(Role::Auxiliary { .. }) | None => {}
        }
    }
    Ok(())
}

/// Refuses a pool that another host may use (`zfs_force_import_required`, `vdev_activity_check`).
pub(super) fn check_host(pool: &Pool, options: &WriteOptions) -> Result<()> {
    if options.force || pool.state() == PoolState::Exported {
        return Ok(());
    }
    let config = pool.config();
    if pool.state() == PoolState::Destroyed {
        let name = &config.name;
        return Err(Error::bad_request(format!(
            "pool {name} was destroyed; it can still be read, and `pool export -f {name}` restores it"
        )));
    }
    let id = config.hostid.unwrap_or(0);
    if id != u64::from(options.host.id) {
        // The name of a host that was never configured.
        let host = config.hostname.as_deref().filter(|name| !["", "(none)"].contains(name));
        let host = host.unwrap_or("a host without a name");
        return Err(Fault::InUse(format!(
            "pool {0} was last used by {host} (hostid {id:x}) and not exported; it may be in use there; \
             if it is not, release it with `pool export -f {0}`",
            config.name
        ))
        .into());
    }
    if pool.uberblock().mmp_magic == crate::vdev::uberblock::MMP_MAGIC && pool.uberblock().mmp_delay != 0 {
        return Err(Fault::InUse(format!(
            "pool {} has multihost enabled and was not exported; it may be in use",
            config.name
        ))
        .into());
    }
    Ok(())
}

/// Refuses pools that would become inconsistent if zstream wrote to them.
pub(super) fn check_writable(pool: &Pool) -> Result<()> {
    let refuse = |what: String| Err(Error::unsupported(format!("writing to a pool {what}")));
    if pool.version() != VERSIONS.2 {
        return refuse(format!("of version {}", pool.version()));
    }
    if pool.uberblock().order != zstream_format::order::ByteOrder::Little {
        return refuse("with big-endian integers".to_owned());
    }
    check_maintained(pool.features())?;
    if pool.uberblock().checkpoint_txg.0 != 0 {
        return refuse("opened at its checkpoint".to_owned());
    }
    for vdev in pool.config().vdev_tree.walk() {
        check_vdev(vdev)?;
        if vdev.kind.is_expanding() && pool.uberblock().reflow_in_scratch() {
            return refuse(format!("with {}, whose expansion is at its scratch area", vdev.display_name()));
        }
    }
    check_members(pool)?;
    if let Some(cut) = pool.vdevs().cut_members().first() {
        return refuse(format!("with a truncated member ({cut})"));
    }
    check_removed(pool)
}

/// Refuses a pool that lost something with its missing members, or would lose it with what is written.
fn check_members(pool: &Pool) -> Result<()> {
    absent::load(&**pool.mos(), pool.vdevs())?;
    for top in pool.vdevs().tops() {
        let why = if !top.is_writable() {
            let members = top.leaves().into_iter().filter(|leaf| !leaf.is_writable());
            let members: Vec<_> = members.map(Vdev::name).collect();
            match top.children() {
                [] => "is missing or offline".to_owned(),
                _ => format!("has too few members: missing or offline: {}", members.join(", ")),
            }
        } else if !top.outage(pool.txg()).is_empty() {
            "has too few members that are up to date".to_owned()
        } else {
            continue;
        };
        return Err(Error::unsupported(format!("writing to a pool whose vdev {} {why}", top.name())));
    }
    Ok(())
}

fn check_vdev(vdev: &VdevConfig) -> Result<()> {
    let name = vdev.display_name();
    match vdev.kind.why_not_written() {
        Some(why) => Err(Error::unsupported(format!("writing to a pool with {name}{why}"))),
        None => Ok(()),
    }
}
