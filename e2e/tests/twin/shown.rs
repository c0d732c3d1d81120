//! Reads the values that `systemctl show` makes nicer than they are.

use crate::agreeing::Shown;

pub fn get<'a>(unit: &'a Shown, property: &str) -> &'a str {
    unit.get(property).map_or("", String::as_str)
}

pub fn lines<'a>(unit: &'a Shown, property: &str) -> impl Iterator<Item = &'a str> {
    get(unit, property).lines().filter(|line| !line.is_empty())
}

/// A value without what systemctl makes nicer: spans in microseconds, `[not set]`, one line per device.
pub fn number(property: &str, shown: &str) -> String {
    match shown {
        "[not set]" => "infinity".to_owned(),
        shown if property.ends_with("USec") => usec(shown).map_or(shown.to_owned(), |n| n.to_string()),
        shown => shown.lines().collect::<Vec<_>>().join(", "),
    }
}

/// `1min 30s` in microseconds.
pub fn usec(span: &str) -> Option<u64> {
    let mut total = 0.0;
    for word in span.split_whitespace() {
        let at = word
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(word.len());
        let (value, unit) = word.split_at(at);
        let factor = match unit {
            "us" => 1.0,
            "ms" => 1e3,
            "s" => 1e6,
            "min" => 60e6,
            "h" => 3600e6,
            "d" => 86_400e6,
            "w" => 604_800e6,
            "month" => 2_629_800e6,
            "y" => 31_557_600e6,
            "" if value == "0" => 0.0,
            _ => return None,
        };
        total += value.parse::<f64>().ok()? * factor;
    }
    Some(total.round() as u64)
}

pub fn join<T: AsRef<str>>(words: impl IntoIterator<Item = T>) -> String {
    let words: Vec<String> = words.into_iter().map(|word| word.as_ref().to_owned()).collect();
    words.join(" ")
}

/// Words as systemctl quotes them.
pub fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', _) => word.extend(chars.next()),
            (c, Some(q)) if c == q => quote = None,
            ('"' | '\'', None) => quote = Some(c),
            (' ', None) => words.push(std::mem::take(&mut word)),
            (c, _) => word.push(c),
        }
    }
    words.push(word);
    words
}

/// Names of units, without the quotes around those with a backslash.
pub fn units(unit: &Shown, property: &str) -> impl Iterator<Item = String> {
    words(get(unit, property))
        .into_iter()
        .filter(|word| !word.is_empty())
}

/// `Fri 2027-01-01 00:00:00 UTC` as `@1798761600`: times of timers are not shown otherwise.
pub fn unix(shown: &str) -> String {
    let time = jiff::civil::DateTime::strptime("%a %Y-%m-%d %H:%M:%S UTC", shown);
    let time = time.and_then(|time| time.to_zoned(jiff::tz::TimeZone::UTC));
    time.map_or_else(
        |_| shown.to_owned(),
        |time| format!("@{}", time.timestamp().as_second()),
    )
}
