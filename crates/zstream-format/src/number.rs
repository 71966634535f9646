//! Numbers in the notation of ZFS's commands.

/// Parses a number of bytes: `4096`, `128K`, `1.5G`, `10MiB` (`zfs_nicestrtonum`).
#[must_use]
pub fn parse_bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let mut suffix = suffix.to_ascii_uppercase();
    for end in ["IB", "B"] {
        if let Some(short) = suffix.strip_suffix(end)
            && (end == "B" || !short.is_empty())
        {
            suffix = short.to_owned();
            break;
        }
    }
    let shift = match suffix.as_str() {
        "" => 0,
        letter => 10 * (1 + ["K", "M", "G", "T", "P", "E"].iter().position(|unit| *unit == letter)?),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.contains('.') || fraction.len() > 18 || number.ends_with('.') {
        return None;
    }
    let unit = 1_u128 << shift;
    let part = match fraction {
        "" => 0,
        digits => digits.parse::<u128>().ok()? * unit / 10_u128.pow(digits.len() as u32),
    };
    let bytes = u128::from(whole.parse::<u64>().ok()?).checked_mul(unit)?.checked_add(part)?;
    u64::try_from(bytes).ok()
}
