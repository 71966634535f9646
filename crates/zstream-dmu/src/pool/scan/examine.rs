//! The examination of one device: its labels, or those in one of its partitions, or what else it is.

use std::sync::Arc;

use super::Candidate;
use crate::container::{self, Container};
use crate::device::Window;
use crate::error::{Error, Fault, Result};
use crate::partition::{self, Parts};
use crate::vdev::Member;
use crate::vdev::label::{LABELS, Labels};

/// A device without valid labels.
pub(super) struct NotMember {
    pub(super) why: Error,
    /// The recognized content.
    pub(super) container: Option<Container>,
}

impl From<Error> for NotMember {
    fn from(why: Error) -> Self {
        Self { why, container: None }
    }
}

/// Reads the labels of a device, or of one of its partitions or slices.
///
/// # Errors
/// Fails if there are no valid labels. The error is that of the first label, and includes the recognized content of
/// the device.
pub fn examine(member: Member) -> Result<Candidate> {
    find(member).map_err(|not| not.why)
}

/// Returns the whole device, or the part with the most valid labels. A slice at the start of its disk shares two
/// labels with it.
pub(super) fn find(member: Member) -> Result<Candidate, NotMember> {
    let whole = Labels::read(&*member.device);
    let good = |labels: &Labels| labels.good().count();
    if good(&whole) == LABELS {
        return Ok(Candidate { member, path: None, labels: whole });
    }
    let parts = partition::parts(&*member.device)
        .unwrap_or_else(|error| Parts { damage: Some(error), ..Parts::default() });
    let mut best = Candidate { member: member.clone(), path: None, labels: whole };
    for part in &parts.list {
        let Some(window) = Window::new(Arc::clone(&member.device), part.start, part.len) else { continue };
        let labels = Labels::read(&window);
        if good(&labels) > good(&best.labels) {
            let name = format!("{} ({})", member.name, part.name);
            best = Candidate { member: Member { name, device: Arc::new(window) }, path: None, labels };
        }
    }
    if good(&best.labels) > 0 { Ok(best) } else { Err(stranger(&member, best.labels, parts)) }
}

/// Describes a device without valid labels.
fn stranger(member: &Member, labels: Labels, parts: Parts) -> NotMember {
    let container = container::recognize(&*member.device);
    let why = match (&container, labels.copies.into_iter().find_map(Result::err)) {
        (Some(container), _) => format!("it is {container}"),
        (None, Some(error)) => error.to_string(),
        (None, None) => format!("none of {LABELS} labels is valid"),
    };
    let mut why = format!("not a member of a pool: {why}");
    if parts.count > 0 {
        why += &format!("; none of its {} partitions either", parts.count);
    }
    let within = parts.list.iter().find_map(|part| {
        let window = Window::new(Arc::clone(&member.device), part.start, part.len)?;
        Some((&part.name, container::recognize(&window)?))
    });
    if let Some((name, container)) = &within {
        why += &format!("; {name} is {container}");
    }
    if let Some(damage) = parts.damage {
        why += &format!("; {damage}");
    }
    let container = container.or(within.map(|(_, container)| container));
    NotMember { why: Fault::NotAMember(why).into(), container }
}
