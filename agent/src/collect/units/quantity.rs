//! Sizes, times and CPU lists as unit files write them (systemd.syntax(7), systemd.time(7)), as the
//! numbers that systemd makes of them. None for what depends on the machine or is not understood.

use std::collections::BTreeSet;

/// What stands for the largest number.
pub const INFINITY: &str = "infinity";
/// Most CPUs or memory nodes that are listed.
const MOST_CPUS: usize = 8192;

/// Microseconds per unit of time; a month is 30.44 days, a year 365.25.
const TIMES: [(&[&str], u64); 9] = [
    (&["usec", "us", "µs", "μs"], 1),
    (&["msec", "ms"], 1_000),
    (&["seconds", "second", "sec", "s"], 1_000_000),
    (&["minutes", "minute", "min", "m"], 60_000_000),
    (&["hours", "hour", "hr", "h"], 3_600_000_000),
    (&["days", "day", "d"], 86_400_000_000),
    (&["weeks", "week", "w"], 604_800_000_000),
    (&["months", "month", "M"], 2_629_800_000_000),
    (&["years", "year", "y"], 31_557_600_000_000),
];

/// A time span in microseconds; a number without a unit counts in `unit` microseconds.
pub fn time(text: &str, unit: u64) -> Option<u64> {
    let mut rest = text.trim();
    if rest == INFINITY {
        return Some(u64::MAX);
    }
    let mut total = None;
    while !rest.is_empty() {
        let (value, after) = number(rest)?;
        let after = after.trim_start();
        let letters = after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len());
        let (word, after) = after.split_at_checked(letters)?;
        let factor = match word {
            "" => unit,
            word => TIMES.iter().find(|(words, _)| words.contains(&word))?.1,
        };
        total = Some(scaled(value, factor)?.checked_add(total.unwrap_or(0))?);
        rest = after.trim_start();
    }
    total
}

/// A size in bytes, or a rate: suffixes K, M, G, T, P, E to `base` 1024 or 1000.
pub fn size(text: &str, base: u64) -> Option<u64> {
    let text = text.trim();
    if text == INFINITY {
        return Some(u64::MAX);
    }
    let (value, suffix) = number(text)?;
    let power = match suffix.trim() {
        "" | "B" => 0,
        "K" => 1,
        "M" => 2,
        "G" => 3,
        "T" => 4,
        "P" => 5,
        "E" => 6,
        _ => return None,
    };
    scaled(value, base.checked_pow(power)?)
}

/// Hundredths of a percent: `20%` is 2000, `12.5%` is 1250.
pub fn permyriad(text: &str) -> Option<u64> {
    let ((whole, digits, places), rest) = number(text.trim())?;
    let hundredths = match places {
        0 => 0,
        1 => digits * 10,
        2 => digits,
        _ => return None,
    };
    (rest == "%").then_some(())?;
    whole.checked_mul(100)?.checked_add(hundredths)
}

/// The highest nice level that a process may ask for, as setrlimit(2) counts it: from a level, which is told by its sign
/// and is one of -20 to 19, or as that number.
pub fn nice(text: &str) -> Option<u64> {
    if !text.starts_with(['+', '-']) {
        return size(text, 1);
    }
    let level = text
        .parse::<i64>()
        .ok()
        .filter(|level| (-20..20).contains(level))?;
    u64::try_from(20 - level).ok()
}

/// A list of CPUs or memory nodes as systemctl shows it: ranges in order, separated by a space.
pub fn cpus(text: &str) -> Option<String> {
    let mut set = BTreeSet::new();
    for word in text.split([' ', '\t', ',']).filter(|word| !word.is_empty()) {
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        let (first, last) = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?);
        if last >= MOST_CPUS {
            return None;
        }
        set.extend(first..=last);
    }
    Some(ranges(set))
}

/// The same of a bit mask, least significant byte first.
pub fn cpu_mask(bytes: &[u8]) -> String {
    let bits = bytes.iter().take(MOST_CPUS / 8).enumerate();
    ranges(bits.flat_map(|(at, byte)| {
        (0..8)
            .filter(move |bit| byte >> bit & 1 == 1)
            .map(move |bit| at * 8 + bit)
    }))
}

fn ranges(cpus: impl IntoIterator<Item = usize>) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for cpu in cpus {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == cpu => *last = cpu,
            _ => ranges.push((cpu, cpu)),
        }
    }
    let words = ranges.into_iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// A whole part, the digits after the point and how many they are.
type Decimal = (u64, u64, u32);

fn number(text: &str) -> Option<(Decimal, &str)> {
    let end = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (whole, rest) = text.split_at_checked(end(text))?;
    let whole = whole.parse().ok()?;
    let Some(fraction) = rest.strip_prefix('.') else {
        return Some(((whole, 0, 0), rest));
    };
    let (digits, rest) = fraction.split_at_checked(end(fraction))?;
    let places = u32::try_from(digits.len()).ok().filter(|places| *places <= 9)?;
    Some(((whole, digits.parse().ok()?, places), rest))
}

fn scaled((whole, digits, places): Decimal, factor: u64) -> Option<u64> {
    let part = digits.checked_mul(factor)? / 10u64.checked_pow(places)?;
    whole.checked_mul(factor)?.checked_add(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From systemd.time(7) and `systemd-analyze timespan`.
    #[test]
    fn times_are_read_as_systemd_reads_them() {
        for (text, usec) in [
            ("2 h", 7_200_000_000),
            ("2hours", 7_200_000_000),
            ("48hr", 172_800_000_000),
            ("1y 12month", 63_115_200_000_000),
            ("55s500ms", 55_500_000),
            ("300ms20s 5day", 432_020_300_000),
            ("1.5min", 90_000_000),
            ("90", 90_000_000),
            ("0", 0),
            ("infinity", u64::MAX),
        ] {
            assert_eq!(time(text, 1_000_000), Some(usec), "{text}");
        }
        for text in ["", "soon", "5 parsecs", "-1s", "99999999999999999y"] {
            assert_eq!(time(text, 1_000_000), None, "{text}");
        }
    }

    #[test]
    fn sizes_shares_and_cpu_lists_are_read_as_systemd_reads_them() {
        assert_eq!(size("1G", 1024), Some(1 << 30));
        assert_eq!(size("1.5K", 1000), Some(1500));
        assert_eq!((size("1X", 1024), size("50%", 1024)), (None, None));
        assert_eq!(
            (permyriad("150%"), permyriad("12.5%")),
            (Some(15_000), Some(1250))
        );
        assert_eq!((permyriad("12"), permyriad("1.234%")), (None, None));
        assert_eq!(
            (nice("-20"), nice("+19"), nice("7"), nice("infinity")),
            (Some(40), Some(1), Some(7), Some(u64::MAX))
        );
        for no_level in [
            "-21",
            "+20",
            "-9223372036854775808",
            "+99999999999999999999",
            "-",
            "x",
        ] {
            assert_eq!(nice(no_level), None, "{no_level}");
        }
        assert_eq!(cpus("7,0-2 3").as_deref(), Some("0-3 7"));
        assert_eq!(cpus("0-99999999"), None);
        assert_eq!(cpu_mask(&[0b1000_1111, 1]), "0-3 7-8");
    }
}
