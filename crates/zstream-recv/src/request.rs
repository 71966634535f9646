//! What a `zfs receive` is asked for, and where each snapshot of a stream goes by it (`zfs_receive_one`).

use zstream_dsl::prop::parse::Parsed;

use crate::refusal::Refusal;
use crate::rules::Encryption;

/// How much of a snapshot's name at the sender is put behind the name of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Naming {
    /// What lies below the dataset that was sent; nothing where the target is the name of a snapshot.
    #[default]
    Below,
    /// All but the name of the pool (`-d`).
    WithoutPool,
    /// From the last part of the name of the dataset that was sent (`-e`).
    Tail,
}

/// A receive as it is asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The target: a dataset, or a snapshot.
    pub to: String,
    /// Names below it.
    pub naming: Naming,
    /// Roll back, replace, rename and destroy what is in the way (`-F`).
    pub force: bool,
    /// Keep what was received when the receive is interrupted (`-s`).
    pub resumable: bool,
    /// Change nothing (`-n`): everything but content happens, in a pool that was opened as a rehearsal.
    pub dry_run: bool,
    /// Correct blocks of a snapshot that is there (`-c`).
    pub heal: bool,
    /// Without holds (`-h`).
    pub without_holds: bool,
    /// The snapshot that a new dataset is to be a clone of (`-o origin=`).
    pub origin: Option<String>,
    /// How new datasets are encrypted (`-o encryption=`, `-o keyformat=`, `-x encryption`); where nothing is said, as the one
    /// above, unless the stream comes with properties: then not at all, as at the sender.
    pub encryption: Option<Encryption>,
    /// Properties that are set instead of those that come (`-o`).
    pub set: Vec<Parsed>,
    /// Properties that are not taken over (`-x`).
    pub exclude: Vec<String>,
}

impl Request {
    /// The full name of the snapshot that is called `name` at the sender, where `sent` is the dataset that was sent.
    ///
    /// # Errors
    /// The target is the name of a snapshot where it cannot be.
    pub fn place(&self, name: &str, sent: &str, is_package: bool) -> Result<String, Refusal> {
        let is_exact = self.to.contains('@');
        let refuse = |why: &str| Err(Refusal::Name { name: self.to.clone(), why: why.to_owned() });
        if is_exact && self.naming != Naming::Below {
            return refuse("with -d or -e the target is a dataset, not a snapshot");
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

    /// The examples of `zfs-receive(8)`, and names without a dataset below the pool.
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
