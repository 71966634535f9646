//! Request for a receive, and the target of each snapshot that follows from it (`zfs_receive_one`).

use zstream_dsl::prop::Parsed;

use crate::refusal::Refusal;
use crate::rules::Encryption;

/// The part of a snapshot's name at the sender that is appended to the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Naming {
    /// The path below the dataset that was sent; nothing if the target is the name of a snapshot.
    #[default]
    Below,
    /// Everything except for the name of the pool (`-d`).
    WithoutPool,
    /// The path that starts with the last part of the name of the dataset that was sent (`-e`).
    Tail,
}

/// A requested receive.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The target: a dataset, or a snapshot.
    pub to: String,
    /// The names of datasets below the target.
    pub naming: Naming,
    /// Roll back, replace, rename and destroy to make room (`-F`).
    pub force: bool,
    /// Keep the received data when the receive is interrupted (`-s`).
    pub resumable: bool,
    /// Change nothing (`-n`): do everything except for writing content, in a pool that was opened as a rehearsal.
    pub dry_run: bool,
    /// Repair blocks of an existing snapshot (`-c`).
    pub heal: bool,
    /// Receive no holds (`-h`).
    pub without_holds: bool,
    /// The snapshot that becomes the origin of a new dataset (`-o origin=`).
    pub origin: Option<String>,
    /// The encryption of new datasets (`-o encryption=`, `-o keyformat=`, `-x encryption`). By default they inherit it
    /// from the dataset above. If the stream has properties, they are not encrypted, as at the sender.
    pub encryption: Option<Encryption>,
    /// Properties that override received ones (`-o`).
    pub set: Vec<Parsed>,
    /// Properties that are not received (`-x`).
    pub exclude: Vec<String>,
}

impl Request {
    /// Returns the full name of the snapshot that is called `name` at the sender, where `sent` is the dataset that was
    /// sent.
    ///
    /// # Errors
    /// Fails if the target is the name of a snapshot but must not be one.
    pub fn place(&self, name: &str, sent: &str, is_package: bool) -> Result<String, Refusal> {
        let is_exact = self.to.contains('@');
        let refuse = |why: &str| Err(Refusal::Name { name: self.to.clone(), why: why.to_owned() });
        if is_exact && self.naming != Naming::Below {
            return refuse("with -d or -e the target must be a dataset, not a snapshot");
        }
        if is_exact && is_package {
            return refuse("a package is received into a dataset, not as one snapshot");
        }
        let rest = match self.naming {
            Naming::Below if is_exact => String::new(),
            Naming::Below => name.strip_prefix(sent).unwrap_or_default().to_owned(),
            Naming::WithoutPool => match name.find('/').or_else(|| name.find('@')) {
                Some(at) => name[at..].to_owned(),
                None => String::new(),
            },
            Naming::Tail => match sent.rfind('/') {
                Some(at) => name.get(at..).unwrap_or_default().to_owned(),
                None => format!("/{name}"),
            },
        };
        Ok(format!("{}{rest}", self.to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of `zfs-receive(8)`, and names of the pool's root.
    #[test]
    fn names_are_put_together_as_zfs_does() {
        for (to, naming, name, sent, place) in [
            ("b/copy", Naming::Below, "a/x/fs@s", "a/x/fs", "b/copy@s"),
            ("b/copy", Naming::Below, "a/x/fs/c@s", "a/x/fs", "b/copy/c@s"),
            ("b/copy@t", Naming::Below, "a/x/fs@s", "a/x/fs", "b/copy@t"),
            ("b/copy", Naming::WithoutPool, "a/x/fs@s", "a/x/fs", "b/copy/x/fs@s"),
            ("b/copy", Naming::WithoutPool, "a@s", "a", "b/copy@s"),
            ("b/copy", Naming::Tail, "a/x/fs@s", "a/x/fs", "b/copy/fs@s"),
            ("b/copy", Naming::Tail, "a/x/fs/c@s", "a/x/fs", "b/copy/fs/c@s"),
            ("b/copy", Naming::Tail, "a@s", "a", "b/copy/a@s"),
        ] {
            let request = Request { to: to.to_owned(), naming, ..Request::default() };
            assert_eq!(request.place(name, sent, false).unwrap(), place, "{name} {naming:?}");
        }
        let request = Request { to: "b/copy@t".to_owned(), naming: Naming::Tail, ..Request::default() };
        assert!(request.place("a@s", "a", false).is_err());
        let request = Request { to: "b/copy@t".to_owned(), ..Request::default() };
        assert!(request.place("a@s", "a", true).is_err());
    }
}
