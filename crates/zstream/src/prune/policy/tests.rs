use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// A moment, as `2026-01-31 18:00` in UTC.
fn at(text: &str) -> u64 {
    let time: jiff::civil::DateTime = text.parse().expect("a time");
    time.to_zoned(TimeZone::UTC).expect("a time of UTC").timestamp().as_second() as u64
}

fn candidates(times: &[&str]) -> Vec<Candidate> {
    times.iter().map(|time| Candidate { creation: at(time), holds: Vec::new() }).collect()
}

const LATER: &str = "2030-01-01 00:00";

/// The reasons in short: an initial for a rule, a capital one for the oldest; `.` for a snapshot that goes.
fn marks(policy: &Policy, snapshots: &[Candidate], zone: &TimeZone) -> String {
    let mark = |reason: &Reason| match reason {
        Reason::Rule(period) => period.to_string()[..1].to_owned(),
        Reason::Oldest(period) => period.to_string()[..1].to_uppercase(),
        Reason::Within(_) => "+".to_owned(),
        Reason::Tag(_) => "t".to_owned(),
        other => panic!("{other}"),
    };
    let reasons = policy.reasons(snapshots, at(LATER), zone);
    let each = reasons.iter().map(|reasons| match reasons.as_slice() {
        [] => ".".to_owned(),
        reasons => reasons.iter().map(mark).collect(),
    });
    each.collect::<Vec<_>>().join(" ")
}

fn policy(text: &str) -> Policy {
    let mut policy = Policy::default();
    for word in text.split_whitespace() {
        let (name, value) = word.split_once('=').expect("NAME=VALUE");
        let keep = || value.parse().expect("a number");
        match name {
            "last" => policy.last = keep(),
            "hourly" => policy.hourly = keep(),
            "daily" => policy.daily = keep(),
            "weekly" => policy.weekly = keep(),
            "monthly" => policy.monthly = keep(),
            "yearly" => policy.yearly = keep(),
            "within" => policy.within = Some(value.parse().expect("a duration")),
            "tag" => policy.tags.push(value.to_owned()),
            other => panic!("{other}"),
        }
    }
    policy
}

/// Computed by hand from restic's rules.
#[test]
fn rules_are_those_of_restic() {
    let week = [
        "2026-03-03 18:00", // Tuesday
        "2026-03-03 17:30",
        "2026-03-03 17:00",
        "2026-03-02 09:00", // Monday
        "2026-03-01 23:00", // Sunday, of the week before
        "2026-02-28 12:00",
        "2026-02-27 12:00",
        "2025-12-31 12:00", // of the first week of 2026
        "2025-12-29 12:00",
        "2025-12-28 12:00",
    ];
    for (rules, expected) in [
        ("last=2", "l l . . . . . . . ."),
        ("last=20", "l l l l l l l l l l"),
        ("last=unlimited", "l l l l l l l l l l"),
        ("hourly=2", "h h . . . . . . . ."),
        ("hourly=3", "h h . h . . . . . ."),
        ("daily=3", "d . . d d . . . . ."),
        ("weekly=2", "w . . . w . . . . ."),
        ("weekly=3", "w . . . w . . w . ."),
        // The number is reached by the oldest one, which is then nothing but the newest of its week.
        ("weekly=4", "w . . . w . . w . w"),
        ("monthly=2", "m . . . . m . . . ."),
        ("yearly=2", "y . . . . . . y . ."),
        // The oldest fills a rule that is not full.
        ("yearly=3", "y . . . . . . y . Y"),
        ("yearly=unlimited", "y . . . . . . y . Y"),
        ("monthly=4", "m . . . . m . m . M"),
        ("last=1 daily=2 yearly=1", "ldy . . d . . . . . ."),
        ("within=1d", "+ + + . . . . . . ."),
        ("within=1d10h", "+ + + + . . . . . ."),
        ("within=4d", "+ + + + + + . . . ."),
        ("within=1m", "+ + + + + + + . . ."),
        ("within=1y", "+ + + + + + + + + +"),
        ("within=1h last=1", "+l + . . . . . . . ."),
    ] {
        assert_eq!(marks(&policy(rules), &candidates(&week), &TimeZone::UTC), expected, "{rules}");
    }
    assert_eq!(marks(&policy("daily=3"), &[], &TimeZone::UTC), "");
    assert_eq!(marks(&policy("daily=3"), &candidates(&week[..1]), &TimeZone::UTC), "d");
}

/// A snapshot shortly before midnight of UTC belongs to the next day in Berlin; the hour that summer time repeats is one hour.
#[test]
fn periods_are_those_of_the_time_zone() {
    let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a zone");
    let night = candidates(&["2026-01-10 23:30", "2026-01-10 22:30", "2026-01-10 12:00"]);
    assert_eq!(marks(&policy("daily=1"), &night, &TimeZone::UTC), "d . .");
    assert_eq!(marks(&policy("daily=2"), &night, &TimeZone::UTC), "d . D");
    assert_eq!(marks(&policy("daily=2"), &night, &berlin), "d d .");
    let twice = candidates(&["2026-10-25 01:30", "2026-10-25 00:30", "2026-10-24 23:30"]);
    assert_eq!(marks(&policy("hourly=2"), &twice, &TimeZone::UTC), "h h .");
    assert_eq!(marks(&policy("hourly=2"), &twice, &berlin), "h . h");
}

#[test]
fn tags_are_kept_and_not_counted() {
    let mut snapshots = candidates(&["2026-01-03 12:00", "2026-01-02 12:00", "2026-01-01 12:00"]);
    snapshots[1].holds = vec!["other".to_owned(), "keep".to_owned()];
    assert_eq!(marks(&policy("last=2 tag=keep"), &snapshots, &TimeZone::UTC), "l tl .");
    assert_eq!(marks(&policy("tag=keep"), &snapshots, &TimeZone::UTC), ". t .");
    assert_eq!(marks(&policy("tag=nobody"), &snapshots, &TimeZone::UTC), ". . .");
}

/// A snapshot of a clock that is wrong is not the newest one that durations count from.
#[test]
fn durations_do_not_count_from_the_future() {
    let snapshots = candidates(&["2030-06-01 00:00", "2026-01-03 12:00", "2026-01-01 12:00"]);
    assert_eq!(marks(&policy("within=1d"), &snapshots, &TimeZone::UTC), "+ + .");
    let all = candidates(&["2030-06-01 00:00", "2030-05-01 00:00"]);
    assert_eq!(marks(&policy("within=1d"), &all, &TimeZone::UTC), "+ +");
}

#[test]
fn durations_are_those_of_the_calendar() {
    for (latest, within, before) in [
        ("2026-03-31 12:00", "1m", "2026-03-03 12:00"),
        ("2026-03-15 12:00", "1m", "2026-02-15 12:00"),
        ("2026-01-15 12:00", "1m", "2025-12-15 12:00"),
        ("2028-02-29 12:00", "1y", "2027-03-01 12:00"),
        ("2026-01-15 12:00", "13m20d13h", "2024-11-24 23:00"),
        ("2026-01-15 12:00", "2y1d", "2024-01-14 12:00"),
    ] {
        let latest = Timestamp::from_second(at(latest) as i64).unwrap().to_zoned(TimeZone::UTC);
        let found = within.parse::<Within>().unwrap().before(&latest).unwrap();
        assert_eq!(found.as_second() as u64, at(before), "{within}");
    }
    let latest = Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC);
    assert_eq!("65535y".parse::<Within>().unwrap().before(&latest), None);
}

#[test]
fn values_of_options_are_checked() {
    assert_eq!("12".parse(), Ok(Keep::Count(12)));
    assert_eq!("unlimited".parse(), Ok(Keep::Unlimited));
    for bad in ["", "-1", "many", "1.5"] {
        assert!(bad.parse::<Keep>().is_err(), "{bad}");
    }
    for good in ["1y5m7d2h", "7d", "100h"] {
        assert_eq!(good.parse::<Within>().unwrap().to_string(), good);
    }
    assert_eq!("2h7d".parse::<Within>().unwrap().to_string(), "7d2h");
    for bad in ["", "7", "d", "7w", "-1d", "0d", "1d2", "99999d", "7\u{e4}"] {
        assert!(bad.parse::<Within>().is_err(), "{bad}");
    }
    assert!(Policy::default().is_empty() && policy("last=0").is_empty());
    assert!(!policy("tag=a").is_empty() && !policy("within=1h").is_empty() && !policy("yearly=1").is_empty());
}

fn any_keep() -> impl Strategy<Value = Keep> {
    prop_oneof![3 => Just(Keep::Count(0)), 4 => (1..6_u64).prop_map(Keep::Count), 1 => Just(Keep::Unlimited)]
}

proptest! {
    /// Each rule, counted in another way: of the distinct periods from the newest on, the first N keep their newest
    /// snapshot, and the oldest snapshot stays if there are fewer.
    #[test]
    fn a_rule_keeps_the_newest_of_its_last_periods(
        mut times in proptest::collection::vec(0..4_000_000_000_u64, 0..40),
        spread in 1..100_000_u64,
        keeps in [any_keep(), any_keep(), any_keep(), any_keep(), any_keep(), any_keep()],
    ) {
        times.iter_mut().for_each(|time| *time /= spread);
        times.sort_unstable();
        times.reverse();
        let snapshots: Vec<_> =
            times.iter().map(|&creation| Candidate { creation, holds: Vec::new() }).collect();
        let [last, hourly, daily, weekly, monthly, yearly] = keeps;
        let policy = Policy { last, hourly, daily, weekly, monthly, yearly, ..Policy::default() };
        let found = policy.reasons(&snapshots, u64::MAX, &TimeZone::UTC);
        prop_assert_eq!(found.len(), snapshots.len());
        for (period, keep) in policy.rules() {
            let mut newest = BTreeMap::new();
            for (nr, time) in times.iter().enumerate().rev() {
                let zoned = Timestamp::from_second(*time as i64).unwrap().to_zoned(TimeZone::UTC);
                newest.insert(std::cmp::Reverse((period.of(&zoned, 0), if period == Period::Last { nr } else { 0 })), nr);
            }
            let mut newest: Vec<usize> = newest.into_values().collect();
            newest.sort_unstable();
            let limit = match keep { Keep::Count(count) => count as usize, Keep::Unlimited => usize::MAX };
            let mut expected: Vec<usize> = newest.iter().copied().take(limit).collect();
            if limit > newest.len() && !snapshots.is_empty() && !expected.contains(&(snapshots.len() - 1)) {
                expected.push(snapshots.len() - 1);
            }
            let is_rule = |reason: &Reason| *reason == Reason::Rule(period) || *reason == Reason::Oldest(period);
            let kept: Vec<usize> = (0..found.len()).filter(|&nr| found[nr].iter().any(is_rule)).collect();
            prop_assert_eq!(kept, expected, "{}", period);
        }
    }
}
