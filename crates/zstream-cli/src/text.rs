//! Human-readable numbers: times, sizes, guids.

use std::fmt;
use std::io::{self, Write as _};
use std::time::SystemTime;

use zstream_format::shown::Shown;

pub(crate) use zstream::text::file_name;

/// Seconds since 1970 as UTC time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Utc(pub(crate) u64);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, rest) = (self.0 / 86_400, self.0 % 86_400);
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// Year, month and day of a count of days since 1970-01-01, in the Gregorian calendar.
fn civil(days: u64) -> (u64, u64, u64) {
    const DAYS_OF_400_YEARS: u64 = 146_097;
    // Years that begin with March put the leap day last. 719468 days lie between 0000-03-01 and 1970.
    let days = days + 719_468;
    let (era, day_of_era) = (days / DAYS_OF_400_YEARS, days % DAYS_OF_400_YEARS);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (400 * era + year_of_era + u64::from(month <= 2), month, day)
}

/// The time of a day, in UTC.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    pub(crate) hour: u8,
    pub(crate) minute: u8,
    pub(crate) second: u8,
}

impl Clock {
    /// The time of the day of a moment. A clock that is set before 1970 shows midnight.
    pub(crate) fn of(time: SystemTime) -> Self {
        let seconds = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()) % 86_400;
        Self {
            hour: (seconds / 3_600) as u8,
            minute: (seconds / 60 % 60) as u8,
            second: (seconds % 60) as u8,
        }
    }
}

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}:{:02}", self.hour, self.minute, self.second)
    }
}

/// A number of bytes with the unit that leaves it short, as `zfs list` shows sizes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size(pub(crate) u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = (self.0.max(1).ilog2() / 10).min(6) as usize;
        if unit == 0 {
            return write!(f, "{}B", self.0);
        }
        let value = self.0 as f64 / f64::from(unit as u32 * 10).exp2();
        let digits = if value < 9.995 {
            2
        } else if value < 99.95 {
            1
        } else {
            0
        };
        write!(f, "{value:.digits$}{}", ["", "K", "M", "G", "T", "P", "E"][unit])
    }
}

/// `1 record`, `2 records`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Count(pub(crate) u64, pub(crate) &'static str);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.0, self.1, if self.0 == 1 { "" } else { "s" })
    }
}

/// A name as stored by ZFS: invalid UTF-8 and hidden characters are shown as `\xNN`.
pub(crate) fn name(bytes: &[u8]) -> String {
    Shown::new(bytes).to_string()
}

/// Text that may have names from outside in it, as one line.
pub(crate) fn line(text: impl fmt::Display) -> String {
    Shown::new(&text.to_string()).to_string()
}

/// Prints a line on standard error. All messages go this way, through the macro `eprintln`.
pub(crate) fn complain(text: impl fmt::Display) {
    // Nothing is left to report the failure to.
    let _ = writeln!(io::stderr(), "{}", line(text));
}

/// Prints a line of [`columns`] on standard error.
pub(crate) fn complain_columns(cells: &[impl AsRef<str>]) {
    let _ = writeln!(io::stderr(), "{}", columns(cells));
}

/// A line of columns that are separated by tabs. A tab in a column is escaped, as all that is hidden; see [`line()`].
pub(crate) fn columns(cells: &[impl AsRef<str>]) -> String {
    cells.iter().map(|cell| line(cell.as_ref())).collect::<Vec<_>>().join("\t")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_219_711, "2026-11-21T00:08:31Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(Utc(seconds).to_string(), text);
        }
        // Whatever a stream says is shown.
        assert!(Utc(u64::MAX).to_string().ends_with('Z'));
    }

    #[test]
    fn a_line_is_one_line() {
        assert_eq!(line("tank/a\nb\tc"), r"tank/a\x0ab\x09c");
        assert_eq!(columns(&["full", "tank/a\nb\tc", "17"]), "full\ttank/a\\x0ab\\x09c\t17");
    }

    #[test]
    fn sizes_keep_three_digits() {
        for (bytes, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.00K"),
            (10_240, "10.0K"),
            (1 << 20, "1.00M"),
            (u64::MAX, "16.0E"),
        ] {
            assert_eq!(Size(bytes).to_string(), text);
        }
    }
}
