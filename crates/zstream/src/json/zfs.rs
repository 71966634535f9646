//! Datasets and pools as `zfs list -j`, `zfs get -j` and `zpool get -j` print them, in their order.

use zstream_dmu::pool::Pool;
use zstream_dsl::prop::{PropertyValue, Props, Source, Types};

use crate::list::PropertyName;

/// A property of a dataset, as text.
#[derive(Debug)]
pub struct JsonProperty {
    name: String,
    value: String,
    source: (String, String),
}

impl JsonProperty {
    /// The value and source of a property; `-` if there is none.
    #[must_use]
    pub fn new(wanted: &PropertyName, found: Option<&PropertyValue>, literal: bool) -> Self {
        let source = found.map_or(&Source::None, |found| &found.source);
        let data = match source {
            Source::Inherited(from) => from.clone(),
            _ => "-".to_owned(),
        };
        let value = wanted.show_found(found, literal);
        Self { name: wanted.name().to_owned(), value, source: (source.kind().to_ascii_uppercase(), data) }
    }
}

fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn object(members: impl IntoIterator<Item = (String, String)>) -> String {
    let members: Vec<String> =
        members.into_iter().map(|(name, value)| format!("{}:{value}", quote(&name))).collect();
    format!("{{{}}}", members.join(","))
}

/// A value: with `--json-int` a number where it is one in plain decimal digits, as `zfs` has it.
fn number_or_text(text: &str, as_int: bool) -> String {
    match text.parse::<u64>() {
        Ok(number) if as_int && number.to_string() == text => text.to_owned(),
        _ => quote(text),
    }
}

fn text(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), quote(value))
}

fn version(command: &str) -> String {
    object([
        text("command", command),
        ("vers_major".to_owned(), "0".to_owned()),
        ("vers_minor".to_owned(), "1".to_owned()),
    ])
}

/// A property of a pool: name, value, kind of source.
pub type PoolMember = (String, String, &'static str);

/// One line with the properties of a pool, as `command` prints it; with `as_int`, numbers are not text.
#[must_use]
pub fn pool_properties(command: &str, pool: &Pool, properties: &[PoolMember], as_int: bool) -> String {
    let number = |name: &str, value: u64| (name.to_owned(), number_or_text(&value.to_string(), as_int));
    let values = properties.iter().map(|(name, value, source)| {
        let source = object([text("type", &source.to_ascii_uppercase()), text("data", "-")]);
        let value = ("value".to_owned(), number_or_text(value, as_int));
        (name.clone(), object([value, ("source".to_owned(), source)]))
    });
    let members = [
        text("name", pool.name()),
        text("type", "POOL"),
        text("state", &pool.health().to_string()),
        number("pool_guid", pool.guid().0),
        number("txg", pool.txg().0),
        number("spa_version", 5000),
        number("zpl_version", 5),
        ("properties".to_owned(), object(values)),
    ];
    let pools = object([(pool.name().to_owned(), object(members))]);
    object([("output_version".to_owned(), version(command)), ("pools".to_owned(), pools)]) + "\n"
}

/// One line with datasets and their properties, as `command` prints it; with `as_int`, numbers are not text.
#[must_use]
pub fn datasets(command: &str, datasets: &[(&Props, Vec<JsonProperty>)], as_int: bool) -> String {
    let datasets = object(datasets.iter().map(|(props, values)| {
        let name = props.name();
        let kind = match props.types() {
            Types::SNAPSHOT => "SNAPSHOT",
            Types::VOLUME => "VOLUME",
            Types::BOOKMARK => "BOOKMARK",
            _ => "FILESYSTEM",
        };
        let mut members = vec![
            text("name", name),
            text("type", kind),
            text("pool", name.split(['/', '@', '#']).next().unwrap_or_default()),
            ("createtxg".to_owned(), number_or_text(&props.creation_txg().to_string(), as_int)),
        ];
        if let Some((head, snapshot)) = name.split_once('@') {
            members.extend([text("dataset", head), text("snapshot_name", snapshot)]);
        }
        let values = values.iter().map(|property| {
            let source = object([text("type", &property.source.0), text("data", &property.source.1)]);
            (
                property.name.clone(),
                object([
                    ("value".to_owned(), number_or_text(&property.value, as_int)),
                    ("source".to_owned(), source),
                ]),
            )
        });
        members.push(("properties".to_owned(), object(values)));
        (name.to_owned(), object(members))
    }));
    object([("output_version".to_owned(), version(command)), ("datasets".to_owned(), datasets)]) + "\n"
}
