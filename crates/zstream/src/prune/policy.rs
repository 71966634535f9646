//! Policies for old snapshots: which ones stay. The rules and their names are those of `restic forget`.
//!
//! ```text
//! newest                                                              oldest
//!   Tue 18:00   Tue 09:00   Mon 18:00   Sun 18:00      ...      Jan 2 18:00
//!   daily                   daily       daily                               3 daily snapshots
//!   last        last                                                        2 last snapshots
//!   monthly                                                     monthly     2 monthly snapshots
//! ```
//!
//! Each rule of a period visits the snapshots from the newest to the oldest, and keeps the newest one in each period until
//! it has kept its number. Periods without a snapshot do not count. If the number is not reached, the oldest snapshot of
//! all is kept too. Periods begin on the calendar: an hour on its minute 0, a week on Monday (ISO 8601).

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _, Zoned};

/// The number of snapshots that a rule keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// As many; 0 for a rule that is not given.
    Count(u64),
    /// All: one for each period.
    Unlimited,
}

impl Default for Keep {
    fn default() -> Self {
        Self::Count(0)
    }
}

impl FromStr for Keep {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "unlimited" => Ok(Self::Unlimited),
            _ => text.parse().map(Self::Count).map_err(|_| "expected a number or `unlimited`".to_owned()),
        }
    }
}

/// A duration on the calendar: `1y5m7d2h`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Within {
    years: u16,
    months: u16,
    days: u32,
    hours: u32,
}

impl FromStr for Within {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "expected numbers with the units y, m, d or h, such as 1y6m or 7d12h";
        let mut within = Self::default();
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or(EXPECTED)?;
            let (number, unit) = rest.split_at(digits);
            let number: u16 = number.parse().map_err(|_| EXPECTED)?;
            match unit.as_bytes()[0] {
                b'y' => within.years = number,
                b'm' => within.months = number,
                b'd' => within.days = number.into(),
                b'h' => within.hours = number.into(),
                _ => return Err(EXPECTED.to_owned()),
            }
            rest = &unit[1..];
        }
        if within == Self::default() { Err(EXPECTED.to_owned()) } else { Ok(within) }
    }
}

impl fmt::Display for Within {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers =
            [(u32::from(self.years), 'y'), (self.months.into(), 'm'), (self.days, 'd'), (self.hours, 'h')];
        numbers
            .iter()
            .filter(|(number, _)| *number > 0)
            .try_for_each(|(number, unit)| write!(f, "{number}{unit}"))
    }
}

impl Within {
    /// The moment before `latest` by this duration; `None` if that is before all calendars. A day that a month does not
    /// have counts into the next month, as in restic: March 31 less a month is March 3.
    fn before(&self, latest: &Zoned) -> Option<Timestamp> {
        let date = latest.date();
        let months = i32::from(date.year()) * 12 + i32::from(date.month()) - 1;
        let months = months - i32::from(self.years) * 12 - i32::from(self.months);
        let (year, month) = (months.div_euclid(12), months.rem_euclid(12) + 1);
        let first = Date::new(year.try_into().ok()?, month.try_into().ok()?, 1).ok()?;
        let date = first.checked_add((i64::from(date.day()) - 1 - i64::from(self.days)).days()).ok()?;
        let day = date.to_datetime(latest.time()).to_zoned(latest.time_zone().clone()).ok()?;
        day.timestamp().checked_sub(SignedDuration::from_hours(self.hours.into())).ok()
    }
}

/// A rule that keeps a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Period {
    /// It is one of the last.
    Last,
    /// It is the newest of its hour.
    Hourly,
    /// It is the newest of its day.
    Daily,
    /// It is the newest of its week.
    Weekly,
    /// It is the newest of its month.
    Monthly,
    /// It is the newest of its year.
    Yearly,
}

impl Period {
    /// A number for the period of a time; `nr` is the place in the list.
    fn of(self, time: &Zoned, nr: usize) -> i64 {
        let date = time.date();
        let (year, month, day) = (i64::from(date.year()), i64::from(date.month()), i64::from(date.day()));
        match self {
            Self::Last => nr as i64,
            Self::Hourly => ((year * 100 + month) * 100 + day) * 100 + i64::from(time.hour()),
            Self::Daily => (year * 100 + month) * 100 + day,
            Self::Weekly => {
                let week = date.iso_week_date();
                i64::from(week.year()) * 100 + i64::from(week.week())
            }
            Self::Monthly => year * 100 + month,
            Self::Yearly => year,
        }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Last => "last snapshot",
            Self::Hourly => "hourly snapshot",
            Self::Daily => "daily snapshot",
            Self::Weekly => "weekly snapshot",
            Self::Monthly => "monthly snapshot",
            Self::Yearly => "yearly snapshot",
        })
    }
}

/// A reason that a snapshot stays.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// A rule of the policy.
    Rule(Period),
    /// It is the oldest snapshot, and a rule has not reached its number.
    Oldest(Period),
    /// It is not older than that, counted from the newest snapshot.
    Within(Within),
    /// It has a hold with a tag that the policy keeps.
    Tag(String),
    /// It has a hold, so it cannot be destroyed.
    Held(String),
    /// It is the origin of a clone, so it cannot be destroyed.
    Origin(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(period) => write!(f, "{period}"),
            Self::Oldest(period) => write!(f, "oldest {period}"),
            Self::Within(within) => write!(f, "within {within}"),
            Self::Tag(tag) => write!(f, "has tag {tag}"),
            Self::Held(tag) => write!(f, "held by {tag}"),
            Self::Origin(clone) if clone.ends_with("/%recv") => {
                f.write_str("required by an interrupted receive")
            }
            Self::Origin(clone) => write!(f, "origin of {clone}"),
        }
    }
}

/// A snapshot as a policy sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// The time of its creation, in seconds since 1970.
    pub(super) creation: u64,
    /// The tags of its holds.
    pub(super) holds: Vec<String>,
}

/// The snapshots to keep, with the names of `restic forget`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Policy {
    /// The last snapshots, whenever they were created (`--keep-last`).
    pub last: Keep,
    /// The last hours that have snapshots, the newest of each (`--keep-hourly`).
    pub hourly: Keep,
    /// Days (`--keep-daily`).
    pub daily: Keep,
    /// Weeks (`--keep-weekly`).
    pub weekly: Keep,
    /// Months (`--keep-monthly`).
    pub monthly: Keep,
    /// Years (`--keep-yearly`).
    pub yearly: Keep,
    /// All that are not older than the newest by this duration (`--keep-within`).
    pub within: Option<Within>,
    /// All with a hold of one of these tags (`--keep-tag`).
    pub tags: Vec<String>,
}

impl Policy {
    fn rules(&self) -> [(Period, Keep); 6] {
        [
            (Period::Last, self.last),
            (Period::Hourly, self.hourly),
            (Period::Daily, self.daily),
            (Period::Weekly, self.weekly),
            (Period::Monthly, self.monthly),
            (Period::Yearly, self.yearly),
        ]
    }

    /// True for a policy without a rule.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let none = self.rules().iter().all(|(_, keep)| *keep == Keep::Count(0));
        none && self.within.is_none() && self.tags.is_empty()
    }

    /// The reasons to keep each of these snapshots, which are sorted from the newest to the oldest. `now` is in seconds since
    /// 1970: later times do not count as the newest.
    pub(super) fn reasons(&self, snapshots: &[Candidate], now: u64, zone: &TimeZone) -> Vec<Vec<Reason>> {
        let zoned = |seconds: u64| {
            // Times out of the calendar are possible in damaged pools only.
            let seconds = seconds.min(Timestamp::MAX.as_second() as u64);
            Timestamp::from_second(seconds as i64).unwrap_or(Timestamp::MAX).to_zoned(zone.clone())
        };
        let latest = snapshots.iter().map(|snapshot| snapshot.creation).filter(|time| *time < now).max();
        let since =
            self.within.map(|within| (within, latest.and_then(|latest| within.before(&zoned(latest)))));
        let mut rules = self.rules().map(|(period, keep)| (period, keep, None));
        let mut all = Vec::new();
        for (nr, snapshot) in snapshots.iter().enumerate() {
            let time = zoned(snapshot.creation);
            let tags = self.tags.iter().filter(|tag| snapshot.holds.contains(tag));
            let mut reasons: Vec<_> = tags.cloned().map(Reason::Tag).collect();
            if let Some((within, since)) = since
                && since.is_none_or(|since| time.timestamp() > since)
            {
                reasons.push(Reason::Within(within));
            }
            let is_oldest = nr + 1 == snapshots.len();
            for (period, left, last) in &mut rules {
                let of_period = Some(period.of(&time, nr));
                let is_new = of_period != *last;
                if *left == Keep::Count(0) || !(is_new || is_oldest) {
                    continue;
                }
                *last = of_period;
                if let Keep::Count(count) = left {
                    *count -= 1;
                }
                reasons.push(if is_new { Reason::Rule(*period) } else { Reason::Oldest(*period) });
            }
            all.push(reasons);
        }
        all
    }
}

#[cfg(test)]
mod tests;
