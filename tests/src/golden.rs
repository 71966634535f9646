//! The golden data: streams, pool images and outputs that the real OpenZFS 2.3.2 made.
//!
//! `golden/README.md` says what is there. The archives are unpacked on first use into
//! `target/golden/NAME-HASH/`, where HASH is of the archive, so a changed archive is unpacked anew. Several
//! test processes may ask at once: each unpacks into a directory of its own and renames it; one rename wins.
//!
//! What is unpacked is shared by all tests and must not be changed: take a [`copy`] to write to.
//!
//! Everything here panics when the data is missing or broken: it is for tests only.

use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Bytes looked at together when deciding what becomes a hole.
const HOLE_BYTES: usize = 64 << 10;

/// One of the archives in `golden/`.
struct Archive {
    name: &'static str,
    unpacked: OnceLock<PathBuf>,
}

static STREAMS: Archive = Archive::new("streams");
static IMAGES: Archive = Archive::new("images");
static SHAPES: Archive = Archive::new("shapes");
static DECLUSTERED: Archive = Archive::new("declustered");
static PACKAGES: Archive = Archive::new("packages");
static FAULTS: Archive = Archive::new("faults");
static KEPT: Archive = Archive::new("kept");
static GANGS: Archive = Archive::new("gangs");
static DEDUP: Archive = Archive::new("dedup");
static GANGS_2_4: Archive = Archive::new("gangs-2.4");
static REWRITTEN: Archive = Archive::new("rewritten");
static CLONED: Archive = Archive::new("cloned");
static REPLAYED: Archive = Archive::new("replayed");
static OLD: Archive = Archive::new("old");
static LOOKED: Archive = Archive::new("looked");
static ACCOUNTS: Archive = Archive::new("accounts");
static MANIFESTS: Archive = Archive::new("manifest");
static EXPECTED: Archive = Archive::new("expected");

impl Archive {
    const fn new(name: &'static str) -> Self {
        Archive { name, unpacked: OnceLock::new() }
    }

    /// The directory that holds the unpacked files.
    fn dir(&self) -> &Path {
        self.unpacked.get_or_init(|| {
            let packed = fs::read(source().join(format!("{}.tar.xz", self.name))).expect("a golden archive");
            let hash = hex(&Sha256::digest(&packed)[..8]);
            let dir = target_dir().join("golden").join(format!("{}-{hash}", self.name));
            if !dir.is_dir() {
                unpack(&packed, &dir).unwrap_or_else(|e| panic!("cannot unpack {}.tar.xz: {e}", self.name));
            }
            dir
        })
    }

    /// The path of one unpacked file; panics with the name when there is none.
    fn path(&self, file: &str) -> PathBuf {
        let path = self.dir().join(file);
        assert!(path.is_file(), "no golden file {} in {}.tar.xz", file, self.name);
        path
    }

    /// The names of all files that end in `suffix`, without it, sorted.
    fn names(&self, suffix: &str) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.dir())
            .expect("the unpacked directory")
            .filter_map(|e| e.expect("an entry").file_name().to_str()?.strip_suffix(suffix).map(String::from))
            .collect();
        names.sort();
        names
    }
}

/// The directory of the packed golden data in the source tree.
pub fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

/// Cargo's target directory, found from where the running program lies.
pub fn target_dir() -> PathBuf {
    let exe = std::env::current_exe().expect("the path of this program");
    exe.ancestors()
        .find(|dir| dir.join("CACHEDIR.TAG").is_file())
        .map(Path::to_path_buf)
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"))
}

/// The names of all golden streams, sorted: `fs-full`, `tree-R`, ...
pub fn streams() -> Vec<String> {
    STREAMS.names(".zfs")
}

/// The file of a golden stream.
pub fn stream_path(name: &str) -> PathBuf {
    STREAMS.path(&format!("{name}.zfs"))
}

/// The bytes of a golden stream.
pub fn stream(name: &str) -> Vec<u8> {
    fs::read(stream_path(name)).expect("a golden stream")
}

/// A vdev file of an exported pool: `tank.img`, `raidz2-3.img`. Shared: take a [`copy`] to write to.
pub fn image(file: &str) -> PathBuf {
    IMAGES.path(file)
}

/// All vdev files of one golden pool, in vdev order: `tank`, `pmirror`, `praidz1`, `praidz2`, `praidz3`.
pub fn pool(name: &str) -> Vec<PathBuf> {
    match name {
        "tank" => vec![image("tank.img")],
        "pmirror" | "praidz1" | "praidz2" | "praidz3" => {
            (1..=5).map(|n| image(&format!("{}-{n}.img", &name[1..]))).collect()
        }
        _ => panic!("no golden pool {name}"),
    }
}

/// The names of the pools whose vdevs have a history: `removed`, `expanded`, ...
pub const SHAPES_POOLS: [&str; 6] = ["declustered", "expanded", "expanding", "ganged", "removed", "several"];

/// The vdev files of one of [`SHAPES_POOLS`], in the order of their letters. Shared, as [`image`].
pub fn shape(pool: &str) -> Vec<PathBuf> {
    let prefix = format!("{pool}-");
    let names = SHAPES.names(".img").into_iter().filter(|name| name.starts_with(&prefix));
    let paths: Vec<PathBuf> = names.map(|name| SHAPES.path(&format!("{name}.img"))).collect();
    assert!(!paths.is_empty(), "no golden pool {pool}");
    paths
}

/// The names of the dRAID pools of `make-declustered.sh`.
pub const DRAID_POOLS: [&str; 4] = ["drone", "drtwo", "drthree", "drpart"];

/// The vdev files of one of [`DRAID_POOLS`], in the order of their letters. Shared, as [`image`].
pub fn draid(pool: &str) -> Vec<PathBuf> {
    let prefix = format!("{pool}-");
    let names = DECLUSTERED.names(".img").into_iter().filter(|name| name.starts_with(&prefix));
    let paths: Vec<PathBuf> = names.map(|name| DECLUSTERED.path(&format!("{name}.img"))).collect();
    assert!(!paths.is_empty(), "no golden pool {pool}");
    paths
}

/// Another file of `make-declustered.sh`: `drone.sums`, `drone-full.zfs`, ...
pub fn draid_file(name: &str) -> PathBuf {
    DECLUSTERED.path(name)
}

/// A file of `make-packages.sh`: `pack.img`, `COMMANDS`, `sends/1.zfs`, ...; none where it made none.
pub fn package_file(name: &str) -> Option<PathBuf> {
    let path = PACKAGES.dir().join(name);
    path.is_file().then_some(path)
}

/// A file of `make-faults.sh`: `faulty.img`, `COMMANDS`, `spill.zfs`, ...
pub fn fault_file(name: &str) -> PathBuf {
    FAULTS.path(name)
}

/// A file of `make-kept.sh`: `checkpointed.img`, `livelists.img`, ...
pub fn kept_file(name: &str) -> PathBuf {
    KEPT.path(name)
}

/// A file of `make-gangs.sh`: `gangcrypt.img`, `gangcrypt.sums`, ...
pub fn gangs_file(name: &str) -> PathBuf {
    GANGS.path(name)
}

/// A file of `make-gangs-2.4.sh`: `gangdyn.img`, `gangdyn.sums`, ...
pub fn gangs_2_4_file(name: &str) -> PathBuf {
    GANGS_2_4.path(name)
}

/// A file of `make-cloned.sh`: `cloned24-1.img`, `cloned24.sums`, ...
pub fn cloned_file(name: &str) -> PathBuf {
    CLONED.path(name)
}

/// A file of `replay.sh golden`: `rgolden-1.img`, `rgolden.txt`, ...
pub fn replayed_file(name: &str) -> PathBuf {
    REPLAYED.path(name)
}

/// A file of `make-dedup.sh`: `fast.img`, `fast.sums`, ...
pub fn dedup_file(name: &str) -> PathBuf {
    DEDUP.path(name)
}

/// A file of `make-rewritten.sh`: `rewritten.img`, `rewritten.sums`, ...
pub fn rewritten_file(name: &str) -> PathBuf {
    REWRITTEN.path(name)
}

/// A file of `make-accounts.sh`: `accounts.img`, `locked`, ...
pub fn accounts_file(name: &str) -> PathBuf {
    ACCOUNTS.path(name)
}

/// A file of `make-old.sh`: `v5.img`, `v28.list`, ...
pub fn old_file(name: &str) -> PathBuf {
    OLD.path(name)
}

/// A file that `interop/look.sh golden` left: `look.img`, `list`, `get`, ...
pub fn looked_file(name: &str) -> PathBuf {
    LOOKED.path(name)
}

/// The names of the snapshots whose files that script listed, with underscores for `/` and `@`; [`looked_file`] has
/// them behind `files.`.
pub fn looked_snapshots() -> Vec<String> {
    let names = LOOKED.names("").into_iter();
    names.filter_map(|name| name.strip_prefix("files.").map(str::to_owned)).collect()
}

/// Copies a golden file into `dir`, holes kept; gives the path of the copy.
pub fn copy(file: &Path, dir: &Path) -> PathBuf {
    let to = dir.join(file.file_name().expect("a file name"));
    let from = File::open(file).expect("a golden file");
    write_sparse(from, &to).expect("room for a copy");
    to
}

/// The text of a snapshot's manifest: `tank_fs_a` for `tank/fs@a`.
pub fn manifest_text(name: &str) -> String {
    fs::read_to_string(MANIFESTS.path(&format!("{name}.txt"))).expect("a manifest")
}

/// The names of all manifests, sorted.
pub fn manifests() -> Vec<String> {
    MANIFESTS.names(".txt")
}

/// What one snapshot holds, as Linux showed it.
#[derive(Debug, Default)]
pub struct Manifest {
    /// By path (`.` is the root, everything else begins with `./`).
    pub entries: BTreeMap<String, Entry>,
}

impl Manifest {
    /// Panics with the first difference to what was `found` in `what`.
    pub fn assert_same(&self, found: &Manifest, what: &str) {
        let paths = |manifest: &Manifest| manifest.entries.keys().cloned().collect::<Vec<_>>();
        assert_eq!(paths(found), paths(self), "{what}");
        for (path, expected) in &self.entries {
            assert_eq!(&found.entries[path], expected, "{what}: {path}");
        }
    }
}

/// One name in a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// `f` file, `d` directory, `l` symbolic link, `p` FIFO, `c` character device.
    pub kind: char,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// In bytes; of a directory, the number ZFS shows.
    pub size: u64,
    /// Modification time: seconds and nanoseconds since 1970.
    pub mtime: (i64, u32),
    /// Number of hard links.
    pub links: u64,
    /// Target of a symbolic link.
    pub target: String,
    /// SHA-256 of a file's content, in hex.
    pub sha256: Option<String>,
    /// Extended attributes (`user.*` and POSIX ACLs), by name.
    pub xattrs: BTreeMap<String, String>,
}

/// What a snapshot holds: `tank_fs_a` for `tank/fs@a`.
pub fn manifest(name: &str) -> Manifest {
    parse_manifest(&manifest_text(name))
}

/// What a snapshot holds, from what was written down of it.
pub fn parse_manifest(text: &str) -> Manifest {
    let mut manifest = Manifest::default();
    let mut section = "";
    let mut file = String::new();
    for line in text.lines() {
        match (section, line) {
            (_, "# sha256" | "# xattrs") => section = line,
            ("", _) => {
                let (path, entry) = entry(line);
                manifest.entries.insert(path, entry);
            }
            ("# sha256", _) => {
                let (sum, path) = line.split_once("  ").expect("sha256sum's line");
                let entry = manifest.entries.get_mut(path).expect("a listed file");
                entry.sha256 = Some(sum.to_string());
            }
            (_, "") => {}
            _ => match line.strip_prefix("# file: ") {
                Some(path) => file = format!("./{path}"),
                None => {
                    let (key, value) = line.split_once('=').expect("getfattr's line");
                    let entry = manifest.entries.get_mut(&file).expect("a listed file");
                    entry.xattrs.insert(key.to_string(), value.trim_matches('"').to_string());
                }
            },
        }
    }
    manifest
}

/// `path|type|mode|owner:group|size|mtime|links|target`
fn entry(line: &str) -> (String, Entry) {
    let fields: Vec<&str> = line.split('|').collect();
    let [path, kind, mode, owner, size, mtime, links, target] = fields[..] else {
        panic!("not a manifest line: {line}")
    };
    let number = |s: &str| s.parse::<u64>().expect("a number");
    let (uid, gid) = owner.split_once(':').expect("owner:group");
    let (seconds, fraction) = mtime.split_once('.').expect("seconds.fraction");
    let entry = Entry {
        kind: kind.chars().next().expect("a type"),
        mode: u32::from_str_radix(mode, 8).expect("an octal mode"),
        uid: number(uid),
        gid: number(gid),
        size: number(size),
        mtime: (seconds.parse().expect("seconds"), fraction[..9].parse().expect("nanoseconds")),
        links: number(links),
        target: target.to_string(),
        sha256: None,
        xattrs: BTreeMap::new(),
    };
    (path.to_string(), entry)
}

/// One of the text files in `golden/`: `COMMANDS`, `list.txt`, `estimates.txt`, `tokens.txt`, ...
pub fn text(file: &str) -> String {
    fs::read_to_string(source().join(file)).unwrap_or_else(|e| panic!("no golden text {file}: {e}"))
}

/// The resume tokens of the interrupted receives, as (stream that was being received, token).
pub fn tokens() -> Vec<(String, String)> {
    pairs("tokens.txt")
}

/// Tokens good and bad, as (name, token): [`expected`] under `token/NAME` is what `zstream token` said.
pub fn token_cases() -> Vec<(String, String)> {
    pairs("token-cases.txt")
}

fn pairs(file: &str) -> Vec<(String, String)> {
    let line = |line: &str| line.split_once(' ').map(|(a, b)| (a.to_string(), b.to_string()));
    text(file).lines().map(|l| line(l).expect("two words")).collect()
}

/// What a command of OpenZFS gave.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
    /// Its exit code.
    pub code: i32,
}

/// What OpenZFS's `zstream` gave: `dump/NAME`, `dump-v/NAME`, `dump-vv/NAME`, `dump-d/NAME`, `dump-C/NAME` of
/// a stream, `damaged/NAME` (with `-v`) of a line in `damage-cases.txt`, `token/NAME` of one in
/// `token-cases.txt`. `None` where only the hash is kept: [`expected_sha256`].
pub fn expected(case: &str) -> Option<Outcome> {
    let part = |suffix: &str| fs::read(EXPECTED.dir().join(format!("{case}.{suffix}"))).ok();
    let code = part("rc").map_or(0, |b| String::from_utf8_lossy(&b).trim().parse().expect("an exit code"));
    Some(Outcome { stdout: part("out")?, stderr: part("err").unwrap_or_default(), code })
}

/// The SHA-256 in hex of a large output of OpenZFS's `zstream`: `dump-vv/NAME`, `dump-d/NAME`, `decompress/NAME`
/// (the stream that `zstream decompress` without arguments writes).
pub fn expected_sha256(case: &str) -> Option<String> {
    let text = fs::read_to_string(EXPECTED.dir().join(format!("{case}.sha256"))).ok()?;
    Some(text.trim().to_string())
}

/// The SHA-256 in hex of the streams that `zstream recompress TYPE` writes, by TYPE (`off`, `lz4`, `lzjb`, `zle`: those
/// with one possible result). Empty for raw and redacted streams, which it damages or aborts on.
pub fn expected_recompress(name: &str) -> BTreeMap<String, String> {
    let text =
        fs::read_to_string(EXPECTED.dir().join(format!("recompress/{name}.sha256"))).unwrap_or_default();
    text.lines().filter_map(|l| l.split_once(' ')).map(|(a, b)| (a.to_string(), b.to_string())).collect()
}

/// The damaged streams of `damage-cases.txt` as (name, bytes).
pub fn damaged() -> Vec<(String, Vec<u8>)> {
    text("damage-cases.txt").lines().map(damage).collect()
}

/// `NAME STREAM OP ARGS`, as `record.sh` reads it.
fn damage(line: &str) -> (String, Vec<u8>) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [name, from, op, ref args @ ..] = words[..] else { panic!("not a damage case: {line}") };
    let mut bytes = stream(from);
    let number = |s: &str| s.parse::<usize>().expect("a number");
    match (op, args) {
        ("cut", [length]) => bytes.truncate(number(length)),
        ("flip", [at]) => bytes[number(at)] ^= 1,
        ("set", args) => {
            for pair in args.chunks_exact(2) {
                let (at, new) = (number(pair[0]), unhex(pair[1]));
                bytes[at..at + new.len()].copy_from_slice(&new);
            }
        }
        ("append", [more]) => bytes.extend(unhex(more)),
        ("twice", []) => bytes.extend_from_within(..),
        _ => panic!("not a damage case: {line}"),
    }
    (name.to_string(), bytes)
}

/// Lower-case hex of bytes.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hex");
    (0..text.len()).step_by(2).map(digit).collect()
}

/// SHA-256 of bytes in lower-case hex, as the expected hashes are written.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Unpacks an archive beside `dir`, without its top directory, and renames the result to `dir`.
fn unpack(packed: &[u8], dir: &Path) -> io::Result<()> {
    let parent = dir.parent().expect("a parent directory");
    fs::create_dir_all(parent)?;
    let temporary = tempfile::Builder::new().prefix(".unpacking-").tempdir_in(parent)?;
    let plain = io::BufReader::with_capacity(1 << 20, lzma_rust2::XzReader::new(packed, false));
    let mut archive = tar::Archive::new(plain);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let kind = entry.header().entry_type();
        if !kind.is_file() && kind != tar::EntryType::GNUSparse {
            continue;
        }
        let path = entry.path()?.into_owned();
        let inside = if path.starts_with(".") || path.components().count() == 1 {
            path.strip_prefix(".").unwrap_or(&path).to_path_buf()
        } else {
            path.components().skip(1).collect()
        };
        let to = temporary.path().join(inside);
        fs::create_dir_all(to.parent().expect("a parent directory"))?;
        write_sparse(&mut entry, &to)?;
    }
    let made = temporary.keep();
    match fs::rename(&made, dir) {
        Ok(()) => Ok(()),
        // another process was first
        Err(_) if dir.is_dir() => fs::remove_dir_all(made),
        Err(e) => Err(e),
    }
}

/// Writes everything `from` gives to a new file; runs of zeros become holes.
fn write_sparse(mut from: impl Read, to: &Path) -> io::Result<()> {
    let zeros = vec![0u8; HOLE_BYTES];
    let mut chunk = vec![0u8; HOLE_BYTES];
    let mut file = File::create(to)?;
    let mut length = 0u64;
    loop {
        let mut filled = 0;
        while filled < HOLE_BYTES {
            match from.read(&mut chunk[filled..])? {
                0 => break,
                n => filled += n,
            }
        }
        if filled == 0 {
            return file.set_len(length);
        }
        if chunk[..filled] != zeros[..filled] {
            file.seek(SeekFrom::Start(length))?;
            file.write_all(&chunk[..filled])?;
        }
        length += filled as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The images must keep their holes (1.4 GiB of zeros would fill small disks) and their bytes.
    #[test]
    fn images_are_sparse_and_whole() {
        use std::os::unix::fs::MetadataExt;
        let mut held = 0;
        let mut apparent = 0;
        for pool in ["tank", "pmirror", "praidz1", "praidz2", "praidz3"] {
            for file in self::pool(pool) {
                let meta = fs::metadata(&file).unwrap();
                held += meta.blocks() * 512;
                apparent += meta.len();
            }
        }
        assert_eq!(apparent, 20 * (64 << 20) + (160 << 20));
        assert!(held < 128 << 20, "{held} bytes on disk");
        // the last label of a vdev ends with the file: its nvlist begins at 16 KiB of it
        let tank = fs::read(image("tank.img")).unwrap();
        assert_eq!(tank.len(), 160 << 20);
        let last_label = tank.len() - (256 << 10);
        assert_eq!(tank[last_label + (16 << 10)..][..4], [1, 1, 0, 0], "an XDR nvlist");
        assert_eq!(tank[16 << 10..][..4], [1, 1, 0, 0], "an XDR nvlist");
    }

    /// A copy is the same file with the same holes.
    #[test]
    fn a_copy_is_equal() {
        let dir = tempfile::tempdir().unwrap();
        let from = image("raidz3-5.img");
        let to = copy(&from, dir.path());
        assert!(fs::read(from).unwrap() == fs::read(to).unwrap());
    }

    /// Every stream has a recorded dump, so that no stream is silently left out of a comparison.
    #[test]
    fn every_stream_has_its_recordings() {
        let streams = streams();
        assert_eq!(streams.len(), 54);
        for name in &streams {
            for kind in ["dump", "dump-v", "dump-C"] {
                let outcome = expected(&format!("{kind}/{name}")).unwrap();
                assert!(outcome.stdout.starts_with(b"BEGIN record\n"), "{kind} {name}");
                assert_eq!((outcome.code, &outcome.stderr[..]), (0, &b""[..]), "{kind} {name}");
            }
            for kind in ["dump-vv", "dump-d"] {
                let case = format!("{kind}/{name}");
                assert!(expected(&case).is_some() != expected_sha256(&case).is_some(), "{case}");
            }
        }
        for line in text("COMMANDS").lines() {
            let (name, _) = line.split_once(": ").unwrap();
            assert!(streams.iter().any(|s| s == name), "{name}");
        }
    }

    /// Every case of damage and every token has what OpenZFS said about it.
    #[test]
    fn every_case_has_its_recording() {
        let damaged = damaged();
        assert_eq!(damaged.len(), text("damage-cases.txt").lines().count());
        for (name, bytes) in damaged {
            assert!(expected(&format!("damaged/{name}")).is_some(), "{name}");
            assert!(!streams().iter().any(|s| stream(s) == bytes), "{name} is not damaged");
        }
        for (name, _) in token_cases() {
            assert!(expected(&format!("token/{name}")).is_some(), "{name}");
        }
        assert_eq!(expected("token/version-2").unwrap().code, 1);
    }

    /// The parser of manifests reads all of them, and what it read is what is written there.
    #[test]
    fn manifests_are_read() {
        for name in manifests() {
            let manifest = manifest(&name);
            assert_eq!(manifest.entries["."].kind, 'd', "{name}");
            for (path, entry) in &manifest.entries {
                assert_eq!(entry.kind == 'f', entry.sha256.is_some(), "{name}: {path}");
            }
        }
        let fs = manifest("tank_fs_a");
        let text = &fs.entries["./text"];
        assert_eq!((text.uid, text.gid, text.kind), (1234, 5678, 'f'));
        assert!(text.xattrs["user.big"].ends_with(",900"));
        assert_eq!(fs.entries["./embedded"].mtime, (981_173_106, 0));
        assert_eq!(fs.entries["./dir/link"].target, "../tiny");
        assert!(fs.entries.contains_key("./naïve-文件"));
    }
}
