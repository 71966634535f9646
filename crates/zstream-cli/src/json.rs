//! Datasets as `zfs list -j` and `zfs get -j` print them, in their order.

use zstream::list::PropertyName as Wanted;
use zstream_dsl::prop::Props;
use zstream_dsl::prop::table::Types;
use zstream_dsl::prop::value::{Found, Source};

/// A property of a dataset, as text.
#[derive(Debug)]
pub(crate) struct Property {
    name: String,
    value: String,
    source: (&'static str, String),
}

impl Property {
    /// The value and source of a property; `-` if there is none.
    pub(crate) fn new(wanted: &Wanted, found: Option<&Found>, literal: bool) -> Self {
        let source = found.map_or(&Source::None, |found| &found.source);
        let kind = match source {
            Source::None => "NONE",
            Source::Default => "DEFAULT",
            Source::Local => "LOCAL",
            Source::Inherited(_) => "INHERITED",
            Source::Received => "RECEIVED",
        };
        let data = match source {
            Source::Inherited(from) => from.clone(),
            _ => "-".to_owned(),
        };
        let value = found.map_or_else(|| "-".to_owned(), |found| wanted.show(&found.value, literal));
        Self { name: wanted.name().to_owned(), value, source: (kind, data) }
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

/// One line with all of them.
pub(crate) fn datasets(command: &str, datasets: &[(&Props, Vec<Property>)]) -> String {
    let text = |name: &str, value: &str| (name.to_owned(), quote(value));
    let version = object([
        text("command", command),
        ("vers_major".to_owned(), "0".to_owned()),
        ("vers_minor".to_owned(), "1".to_owned()),
    ]);
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
            text("createtxg", &props.creation_txg().to_string()),
        ];
        if let Some((head, snapshot)) = name.split_once('@') {
            members.extend([text("dataset", head), text("snapshot_name", snapshot)]);
        }
        let values = values.iter().map(|property| {
            let source = object([text("type", property.source.0), text("data", &property.source.1)]);
            (property.name.clone(), object([text("value", &property.value), ("source".to_owned(), source)]))
        });
        members.push(("properties".to_owned(), object(values)));
        (name.to_owned(), object(members))
    }));
    object([("output_version".to_owned(), version), ("datasets".to_owned(), datasets)]) + "\n"
}
