//! What the objects of an object set are, as text: by `zstream-dmu`, and as `zdb -dddddd -P` prints them.
//!
//! Both give the same lines for each object, so that they can be compared and recorded:
//!
//! ```text
//! object 5: levels 1 indirect 131072 block 15872 slot 512 last 0 ZFS directory; bonus 176 System attributes
//! @ 0 L0 0:60200:a00 0:1025800:a00 3e00L/a00P F=1 B=11/11 cksum=000000875bffce2d:...     every block pointer, in order
//! - 0 3e00                                                                                every run of data
//! = a-rather-long-file-name-number-41                                                     every ZAP key, in order
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use zstream_dmu::blkptr::{BlockKind, BlockPointer};
use zstream_dmu::block::ReadBlock;
use zstream_dmu::error::{Error, Fault, Result};
use zstream_dmu::ids::{Bookmark, ObjectId, Txg};
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::objset::Objset;
use zstream_dmu::pool::Pool;
use zstream_dmu::traverse::{Options, Traverse, VisitKind};
use zstream_dmu::zap::{Key, Zap};
use zstream_format::object_type::{ObjectType, SwapClass};
use zstream_format::order::ByteOrder;

use crate::golden;

/// Lines by object; the objects that count space are negative.
pub type Facts = BTreeMap<i64, Vec<String>>;

/// All lines, as they are recorded.
pub fn text(facts: &Facts) -> String {
    facts.values().flatten().flat_map(|line| [line, "\n"]).collect()
}

/// What `zstream-dmu` says of a set.
///
/// # Errors
/// Something cannot be read, other than for a key that is not there.
pub fn facts(set: &Objset) -> Result<Facts> {
    let mut facts = Facts::new();
    let options = Options { locked: set.is_locked(), ..Options::default() };
    for visit in Traverse::new(Arc::clone(set.reader()), set.objset_id(), *set.root(), options) {
        let visit = visit?;
        let Some(dnode) = visit.dnode else { continue };
        let object = visit.at.object.0.cast_signed();
        match visit.kind {
            VisitKind::Dnode => {
                let bonus = if dnode.bonus_type == ObjectType::NONE {
                    String::new()
                } else {
                    format!("; bonus {} {}", dnode.bonus_len, dnode.bonus_type.name())
                };
                facts.entry(object).or_default().push(format!(
                    "object {object}: levels {} indirect {} block {} slot {} last {} {}{bonus}",
                    dnode.levels,
                    dnode.indirect_bytes(),
                    dnode.block_bytes(),
                    dnode.slots() * 512,
                    dnode.max_block,
                    dnode.object_type.name()
                ));
            }
            VisitKind::Block if visit.at.block != Bookmark::SPILL => {
                // A hole at the top that was never written may lie beyond the last offset.
                if let Some(pointer) = pointer(&visit.pointer) {
                    let shift = dnode.pointers_per_block_shift() * u32::from(visit.at.level.unsigned_abs());
                    let offset = (visit.at.block.0 << shift) * dnode.block_bytes();
                    let line = format!("@ {offset:x} L{} {pointer}", visit.at.level);
                    facts.entry(object).or_default().push(line);
                }
            }
            _ => {}
        }
    }
    for (&object, lines) in facts.iter_mut().filter(|(object, _)| **object != 0) {
        content(set, ObjectId(object.cast_unsigned()), lines)?;
    }
    Ok(facts)
}

fn content(set: &Objset, object: ObjectId, lines: &mut Vec<String>) -> Result<()> {
    let mut at = 0;
    while let Some(start) = set.next_data(object, at)? {
        at = set.next_hole(object, start)?;
        lines.push(format!("- {start:x} {at:x}"));
    }
    if at == 0 || set.info(object)?.object_type.swap_class() != Some(SwapClass::Zap) {
        return Ok(());
    }
    let keys = || -> Result<Vec<String>> {
        let zap = Zap::open(set, object)?;
        let entries: Vec<_> = zap.entries().collect::<Result<_>>()?;
        for entry in &entries {
            let found = match &entry.key {
                Key::Name(name) => zap.lookup(name)?,
                Key::Words(words) => zap.lookup_words(words)?,
            };
            if found.as_ref() != Some(&entry.value) {
                return Err(Error::corrupt("ZAP", format!("{} is listed, but not found", entry.key)));
            }
        }
        entries.iter().map(|entry| Ok(format!("= {}", String::from_utf8_lossy(entry.key.name()?)))).collect()
    };
    match keys() {
        Ok(keys) => lines.extend(keys),
        Err(error) if set.is_locked() && matches!(error.fault(), Fault::Encrypted { .. }) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// A pointer as `snprintf_blkptr_compact` prints it; nothing for a hole that was never written.
fn pointer(pointer: &BlockPointer) -> Option<String> {
    let (lsize, birth) = (pointer.lsize(), pointer.logical_birth());
    Some(match pointer.kind() {
        BlockKind::Hole if birth == Txg(0) => return None,
        BlockKind::Hole => format!("{lsize:x}L B={birth}"),
        BlockKind::Embedded => format!("EMBEDDED et=0 {lsize:x}L/{:x}P B={birth}", pointer.embedded_psize()),
        _ => {
            let addresses: String = pointer.dvas().map(|dva| format!("{dva} ")).collect();
            let [a, b, c, d] = pointer.checksum();
            format!(
                "{addresses}{lsize:x}L/{:x}P F={} B={birth}/{} cksum={a:016x}:{b:016x}:{c:016x}:{d:016x}",
                pointer.psize(),
                pointer.fill(),
                pointer.physical_birth()
            )
        }
    })
}

/// What `zdb -dddddd -P` printed of a set.
pub fn zdb_facts(output: &str) -> Facts {
    let mut facts = Facts::new();
    let mut object = None;
    let mut keys: Vec<String> = Vec::new();
    let mut entries = 0;
    let mut lines = output.lines().peekable();
    while let Some(line) = lines.next() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if fields[..] == ["Object", "lvl", "iblk", "dblk", "dsize", "dnsize", "lsize", "%full", "type"] {
            flush(&mut facts, object, &mut keys, &mut entries);
            let header = lines.next().expect("an object's line");
            let fields: Vec<&str> = header.split_whitespace().collect();
            let number: i64 = fields[0].parse().expect("an object's number");
            let name = header[header.find(fields[7]).expect("a percentage")..]
                .trim_start_matches(fields[7])
                .split(" (K=")
                .next()
                .expect("a type");
            let mut text = format!(
                "object {number}: levels {} indirect {} block {} slot {} last LAST {}",
                fields[1],
                fields[2],
                fields[3],
                fields[5],
                name.trim()
            );
            if let Some((len, kind)) = lines.peek().and_then(|line| line.split_once("   bonus  ")) {
                text.push_str(&format!("; bonus {} {}", len.trim(), kind.trim()));
            }
            facts.insert(number, vec![text]);
            object = Some(number);
            continue;
        }
        let Some(lines) = object.and_then(|object| facts.get_mut(&object)) else { continue };
        if let Some(last) = line.strip_prefix("\tdnode maxblkid: ") {
            lines[0] = lines[0].replace(" LAST ", &format!(" {last} "));
        } else if let Some(count) = line.strip_prefix("\tmicrozap: ") {
            entries =
                count.split(' ').nth(2).and_then(|count| count.parse().ok()).expect("a number of entries");
        } else if let Some(count) = line.strip_prefix("\t\tZAP entries: ") {
            entries = count.parse().expect("a number of entries");
        } else if let Some(segment) = line.strip_prefix("\t\tsegment [") {
            let (start, rest) = segment.split_once(", ").expect("two ends");
            let end = rest.split(')').next().expect("an end");
            let short = |text: &str| text.trim_start_matches('0').to_owned();
            let start = if short(start).is_empty() { "0".to_owned() } else { short(start) };
            if object != Some(0) {
                lines.push(format!("- {start} {}", short(end)));
            }
        } else if let Some((key, _)) = line.strip_prefix("\t\t").and_then(|line| line.split_once(" = ")) {
            keys.push(format!("= {key}"));
        } else if line.starts_with(' ')
            && fields.len() > 2
            && fields[1].starts_with('L')
            && u64::from_str_radix(fields[0], 16).is_ok()
        {
            lines.push(format!("@ {}", fields.join(" ")));
        }
    }
    flush(&mut facts, object, &mut keys, &mut entries);
    facts
}

/// Adds an object's keys: the last ones of what looked like keys, as many as there are entries.
fn flush(facts: &mut Facts, object: Option<i64>, keys: &mut Vec<String>, entries: &mut usize) {
    if let Some(lines) = object.and_then(|object| facts.get_mut(&object)) {
        lines.extend(keys.split_off(keys.len() - (*entries).min(keys.len())));
    }
    keys.clear();
    *entries = 0;
}

/// Sets of the pool tank whose facts are recorded: a name, and the dataset's object (0 for the MOS).
pub const RECORDED: [(&str, u64); 6] =
    [("mos", 0), ("fs_a", 87), ("dn_s", 369), ("rs512_s", 114), ("vol_t", 389), ("e-aes-256-gcm_s", 218)];

/// Where the facts of a set are recorded.
pub fn recorded_path(name: &str) -> PathBuf {
    golden::source().join("objects").join(format!("{name}.txt"))
}

/// The recorded facts of a set.
pub fn recorded(name: &str) -> String {
    std::fs::read_to_string(recorded_path(name)).expect("recorded facts")
}

/// Opens a dataset by its object in the MOS, without its key if it has one.
///
/// # Errors
/// There is no such dataset, or it cannot be read.
pub fn dataset(pool: &Pool, id: u64) -> Result<Objset> {
    const ROOT_POINTER: usize = 128;
    let info = pool.mos().info(ObjectId(id))?;
    let root = BlockPointer::parse_at(info.bonus()?, ROOT_POINTER, ByteOrder::Little)
        .ok_or(Fault::NoObject(ObjectId(id)))?;
    let reader = Arc::clone(pool.reader()) as Arc<dyn ReadBlock>;
    if root.uses_crypt() { Objset::open_locked(reader, id, root) } else { Objset::open(reader, id, root) }
}
