//! Rows of lists: datasets with values of properties, sorted.

use std::cmp::Ordering;

use zstream_dsl::prop::{PropertyValue, Props, Source};

use super::{PropertyName, all_properties, by_name};
use crate::control::{Control, Warning};
use crate::error::{Error, Result};

/// A dataset with the values of properties.
#[derive(Debug)]
#[non_exhaustive]
pub struct Row {
    /// The dataset.
    pub dataset: Props,
    /// The value of each column's property, where the dataset has one.
    pub values: Vec<Option<PropertyValue>>,
}

/// A property to sort by.
#[derive(Clone, Debug)]
pub struct SortKey {
    /// The property.
    pub property: PropertyName,
    /// From the largest value to the smallest.
    pub descending: bool,
}

/// The datasets with the values of these properties, sorted by `keys` and then by name. A dataset without a value comes
/// after those that have one, in either direction. A dataset whose values cannot be read is omitted, with
/// [`Warning::UnreadableProperties`].
pub fn rows(
    datasets: Vec<Props>,
    columns: &[PropertyName],
    keys: &[SortKey],
    control: &mut Control<'_>,
) -> Vec<Row> {
    let mut rows = Vec::new();
    for dataset in datasets {
        let wanted = columns.iter().chain(keys.iter().map(|key| &key.property));
        match wanted.map(|property| property.of(&dataset)).collect::<Result<Vec<_>>>() {
            Ok(values) => rows.push(Row { dataset, values }),
            Err(error) => control.warn(unreadable(&dataset, error)),
        }
    }
    rows.sort_by(|a, b| {
        let by_keys = compare(&a.values[columns.len()..], &b.values[columns.len()..], keys);
        by_keys.then_with(|| by_name(&a.dataset, &b.dataset))
    });
    rows.iter_mut().for_each(|row| row.values.truncate(columns.len()));
    rows
}

fn unreadable(dataset: &Props, source: Error) -> Warning {
    Warning::UnreadableProperties { dataset: dataset.name().to_owned(), source: Box::new(source) }
}

/// The order of two rows by the values of the keys.
fn compare(a: &[Option<PropertyValue>], b: &[Option<PropertyValue>], keys: &[SortKey]) -> Ordering {
    let each = a.iter().zip(b).zip(keys).map(|((a, b), key)| match (a, b) {
        (Some(a), Some(b)) if key.descending => b.value.cmp(&a.value),
        (Some(a), Some(b)) => a.value.cmp(&b.value),
        (a, b) => b.is_some().cmp(&a.is_some()),
    });
    each.fold(Ordering::Equal, Ordering::then)
}

/// A property of a dataset.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PropertyRow<'a> {
    /// The dataset.
    pub dataset: &'a Props,
    /// The property.
    pub property: PropertyName,
    /// Its value and the source of that, if it has one.
    pub found: Option<PropertyValue>,
}

impl PropertyRow<'_> {
    /// The source of the value.
    #[must_use]
    pub fn source(&self) -> &Source {
        self.found.as_ref().map_or(&Source::None, |found| &found.source)
    }
}

/// The values of properties of datasets: with `all` those of all that a dataset has, then those that are named. One that
/// cannot be read is omitted, with [`Warning::UnreadableProperties`].
pub fn property_rows<'a>(
    datasets: &'a [Props],
    all: bool,
    named: &[PropertyName],
    control: &mut Control<'_>,
) -> Vec<PropertyRow<'a>> {
    let mut rows = Vec::new();
    for dataset in datasets {
        if all {
            match all_properties(dataset) {
                Ok(found) => rows.extend(found.into_iter().map(|(property, found)| PropertyRow {
                    dataset,
                    property,
                    found: Some(found),
                })),
                Err(error) => control.warn(unreadable(dataset, error)),
            }
        }
        for property in named {
            match property.of(dataset) {
                Ok(found) => rows.push(PropertyRow { dataset, property: property.clone(), found }),
                Err(error) => control.warn(unreadable(dataset, error)),
            }
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use zstream_dsl::prop::Value;

    use super::*;

    fn found(number: u64) -> Option<PropertyValue> {
        Some(PropertyValue::new(Value::Number(number), Source::None))
    }

    fn keys(descending: &[bool]) -> Vec<SortKey> {
        let key = |&descending| SortKey { property: PropertyName::parse("used").unwrap(), descending };
        descending.iter().map(key).collect()
    }

    #[test]
    fn the_first_key_that_differs_decides() {
        let (up, down) = (keys(&[false, false]), keys(&[true, false]));
        assert_eq!(compare(&[found(1), found(9)], &[found(2), found(1)], &up), Ordering::Less);
        assert_eq!(compare(&[found(1), found(9)], &[found(2), found(1)], &down), Ordering::Greater);
        assert_eq!(compare(&[found(1), found(9)], &[found(1), found(1)], &down), Ordering::Greater);
        assert_eq!(compare(&[found(1), found(1)], &[found(1), found(1)], &up), Ordering::Equal);
    }

    #[test]
    fn what_has_no_value_comes_last_in_either_direction() {
        for direction in [false, true] {
            let keys = keys(&[direction]);
            assert_eq!(compare(&[None], &[found(0)], &keys), Ordering::Greater);
            assert_eq!(compare(&[found(0)], &[None], &keys), Ordering::Less);
            assert_eq!(compare(&[None], &[None], &keys), Ordering::Equal);
        }
    }
}
