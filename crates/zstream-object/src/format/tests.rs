//! The examples of `docs/object-format.md` are true, and hostile objects are refused.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::*;
use crate::testing::Numbers;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/object-format.md");

/// Bytes as `od -A x -t x1` shows them.
fn dump(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (n, line) in bytes.chunks(16).enumerate() {
        write!(text, "{:06x}", n * 16).unwrap();
        line.iter().for_each(|byte| write!(text, " {byte:02x}").unwrap());
        text.push('\n');
    }
    text
}

/// Compares a block of the page with what the code makes. `BLESS=1` writes it.
fn assert_shown(name: &str, text: &str) {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let start = format!("<!-- example: {name} -->\n```text\n");
    let (before, rest) = page.split_once(&start).unwrap_or_else(|| panic!("no example {name}"));
    let (shown, after) = rest.split_once("```").unwrap();
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(PAGE, format!("{before}{start}{text}```{after}")).unwrap();
        return;
    }
    assert_eq!(shown, text, "example {name}: BLESS=1 writes it");
}

fn id(number: u32, kind: Kind) -> ObjectId {
    ObjectId { generation: 2, writer: 0x1122_3344_5566_7788, number, kind }
}

fn payload() -> Payload {
    Payload::pack(id(0, Kind::Data), &[(0x48_0000, b"first".to_vec()), (0x50_0000, b"second".to_vec())])
}

fn generation() -> Generation {
    let payload = payload();
    let mut block = Box::new([0; LABEL_BLOCK]);
    block[..5].copy_from_slice(b"label");
    Generation {
        number: 2,
        writer: 0x1122_3344_5566_7788,
        parent_writer: 0x99,
        time: 1_700_000_000,
        identity: *b"0123456789abcdef",
        geometry: Geometry { device_bytes: 1 << 30, chunk_bytes: 8 << 20, page_bytes: 8 << 30 },
        root: None,
        labels: BTreeMap::from([(4, block)]),
        changes: Table {
            extents: payload.extents.clone(),
            objects: BTreeMap::from([(payload.id, payload.bytes)]),
        },
        dead: vec![id(7, Kind::Map)],
    }
}

/// One test, as `BLESS=1` writes the page.
#[test]
fn the_page_shows_real_objects() {
    assert_shown("data", &dump(&payload().object));
    let record = generation().encode().unwrap();
    let body = sealed::open(b"zstrmgen", &record).unwrap();
    assert_shown("generation header", &dump(&body[..168]));
    assert_shown("generation rest", &dump(&body[168 + 4 + LABEL_BLOCK..]));
}

fn page() -> Page {
    let payload = payload();
    let objects = BTreeMap::from([(payload.id, payload.bytes)]);
    Page { number: 0, page_bytes: 8 << 30, table: Table { extents: payload.extents, objects } }
}

#[test]
fn records_are_read_back() {
    let generation = generation();
    assert_eq!(Generation::parse(2, &generation.encode().unwrap()).unwrap(), generation);
    assert!(Generation::parse(3, &generation.encode().unwrap()).is_err());
    let page = page();
    let bytes = page.encode().unwrap();
    assert_eq!(Page::parse(0, 8 << 30, &bytes).unwrap(), page);
    assert!(Page::parse(1, 8 << 30, &bytes).is_err());
    let root = Root { pages: BTreeMap::from([(3, PageReference::new(id(1, Kind::Map), &bytes))]) };
    assert_eq!(Root::parse(8 << 30, &root.encode(8 << 30).unwrap()).unwrap(), root);
}

/// Bodies with any changed bytes, and a correct checksum, are refused or read, but never panic.
#[test]
fn hostile_bodies_do_not_panic() {
    let sources = [
        (b"zstrmgen", generation().encode().unwrap()),
        (b"zstrmpag", page().encode().unwrap()),
        (b"zstrmroo", Root::default().encode(8 << 30).unwrap()),
    ];
    for (magic, record) in sources {
        let body = sealed::open(magic, &record).unwrap();
        let (mut refused, mut numbers) = (0, Numbers::new(3));
        for _ in 0..2000 {
            let mut body = body.clone();
            for _ in 0..1 + numbers.below(3) {
                // Mostly in the parts that are not a block of the labels.
                let at = match numbers.below(3) {
                    0 => body.len() as u64 - 1 - numbers.below(200.min(body.len() as u64)),
                    _ => numbers.below(200.min(body.len() as u64)),
                };
                let value = [0, 1, 0x7f, 0x80, 0xff, numbers.next() as u8][numbers.below(6) as usize];
                body[at as usize] = value;
            }
            let sealed = sealed::seal(magic, &body).unwrap();
            let is_read = match magic {
                b"zstrmgen" => Generation::parse(2, &sealed).is_ok(),
                b"zstrmpag" => Page::parse(0, 8 << 30, &sealed).is_ok(),
                _ => Root::parse(8 << 30, &sealed).is_ok(),
            };
            refused += u32::from(!is_read);
        }
        assert!(refused > 500, "{refused}");
    }
}
