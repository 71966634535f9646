//! Names of datasets with the place where they are: `tank/data`, `zfs:tank/data`, `ssh://host/tank/data`.

use std::str::FromStr;

use crate::error::SyncFault;

/// A dataset and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// `tank/data`: a dataset of a pool that is not imported, or of stored streams.
    Dataset(String),
    /// `zfs:tank/data` or `ssh://[USER@]HOST[:PORT]/tank/data`: a dataset of a running ZFS.
    Running(RunningZfs),
}

/// A dataset of a ZFS that is running on this host or another one. It is used through the programs `zfs` and `ssh`, as the
/// user who runs them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningZfs {
    /// None for this host.
    pub(crate) host: Option<Host>,
    pub(crate) dataset: String,
}

/// A host for `ssh`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    /// `USER@HOST`, or only the host.
    pub(crate) name: String,
    pub(crate) port: Option<u16>,
}

impl FromStr for Location {
    type Err = SyncFault;

    fn from_str(text: &str) -> Result<Self, SyncFault> {
        let bad = |reason| SyncFault::BadLocation { location: text.to_owned(), reason };
        let (host, dataset) = if let Some(dataset) = text.strip_prefix("zfs:") {
            (None, dataset)
        } else if let Some(rest) = text.strip_prefix("ssh://") {
            let (host, dataset) = rest
                .split_once('/')
                .ok_or_else(|| bad("expected ssh://HOST/POOL or ssh://HOST/POOL/DATASET"))?;
            (Some(Host::parse(host).ok_or_else(|| bad("the host or its port is not valid"))?), dataset)
        } else {
            (None, text)
        };
        if dataset.is_empty() || dataset.starts_with(['/', '-']) || dataset.ends_with('/') {
            return Err(bad("expected the name of a dataset"));
        }
        if dataset.contains(['@', '#']) {
            return Err(bad("expected a filesystem or volume, not a snapshot or bookmark"));
        }
        let dataset = dataset.to_owned();
        Ok(match text.starts_with("zfs:") || host.is_some() {
            true => Self::Running(RunningZfs { host, dataset }),
            false => Self::Dataset(dataset),
        })
    }
}

impl Host {
    /// Parses `[USER@]HOST[:PORT]`; an IPv6 address is in brackets.
    fn parse(text: &str) -> Option<Self> {
        let (user, host) = match text.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, text),
        };
        let (host, port) = match host.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']')?;
                (address, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
            }
            None => match host.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (host, None),
            },
        };
        let port =
            port.map(|port| port.parse().ok()).map_or(Some(None), |port: Option<u16>| port.map(Some))?;
        // Nothing that `ssh` would take for an option, and no name that is empty.
        let is_bad = |name: &str| name.is_empty() || name.starts_with('-');
        if is_bad(host) || user.is_some_and(is_bad) {
            return None;
        }
        let name = user.map_or_else(|| host.to_owned(), |user| format!("{user}@{host}"));
        Some(Self { name, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_parsed() {
        let running = |host: Option<(&str, Option<u16>)>, dataset: &str| {
            let host = host.map(|(name, port)| Host { name: name.to_owned(), port });
            Location::Running(RunningZfs { host, dataset: dataset.to_owned() })
        };
        for (text, expected) in [
            ("tank/data", Location::Dataset("tank/data".to_owned())),
            ("zfs:tank", running(None, "tank")),
            ("ssh://nas/tank/data", running(Some(("nas", None)), "tank/data")),
            ("ssh://root@nas:2222/tank", running(Some(("root@nas", Some(2222))), "tank")),
            ("ssh://[fe80::1]:22/tank", running(Some(("fe80::1", Some(22))), "tank")),
            ("ssh://a@[::1]/tank", running(Some(("a@::1", None)), "tank")),
        ] {
            assert_eq!(text.parse::<Location>().unwrap(), expected, "{text}");
        }
        for bad in [
            "",
            "zfs:",
            "ssh://nas",
            "ssh://nas/",
            "ssh:///tank",
            "ssh://-oProxyCommand=x/tank",
            "ssh://a@-b/tank",
            "ssh://@nas/tank",
            "ssh://nas:/tank",
            "ssh://nas:99999/tank",
            "ssh://[::1/tank",
            "ssh://[::1]22/tank",
            "tank@a",
            "zfs:tank#a",
            "-r",
            "zfs:-r",
            "/tank",
            "tank/",
        ] {
            assert!(bad.parse::<Location>().is_err(), "{bad}");
        }
    }
}
