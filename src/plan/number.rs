//! Operation numbers and the names that carry them.
//!
//! Every operation (apply, restore, manual point) takes one number: the highest that status, point
//! names and the guest's manifest know, plus one. Names come from the twin's UID and the number, so
//! that a repeated attempt finds what the first one made.

/// What knows of operation numbers.
#[derive(Clone, Copy, Debug)]
pub struct KnownNumbers<'a> {
    /// `status.lastOperation`.
    pub last_operation: i64,
    /// `operation` of the guest's manifest; 0 when it has none.
    pub manifest: i64,
    /// Names of points in the hypervisor and of TwinSnapshots and TwinRevisions of this twin.
    pub names: &'a [String],
}

/// The next operation's number: at least 1. Names that are not ours are ignored.
pub fn next(twin: &str, uid: &str, known: &KnownNumbers<'_>) -> i64 {
    let named = known.names.iter().filter_map(|name| parse(name, twin, uid)).max();
    known
        .last_operation
        .max(known.manifest)
        .max(named.unwrap_or_default())
        .max(0)
        .saturating_add(1)
}

/// `<twin>-r<number, four digits or more>-<short uid>`: the name of the operation's point and revision.
pub fn name(twin: &str, number: i64, uid: &str) -> String {
    format!("{twin}-r{number:04}-{}", short_uid(uid))
}

/// The first four hex digits of a UID, lower-case.
pub fn short_uid(uid: &str) -> String {
    uid.chars()
        .filter(char::is_ascii_hexdigit)
        .take(4)
        .map(|c| c.to_ascii_lowercase())
        .collect()
}

/// The number in a name that [`name`] made for this twin; `None` for every other text.
pub fn parse(text: &str, twin: &str, uid: &str) -> Option<i64> {
    let digits = text
        .strip_prefix(twin)?
        .strip_prefix("-r")?
        .strip_suffix(&format!("-{}", short_uid(uid)))?;
    let number: i64 = digits.parse().ok()?;
    (name(twin, number, uid) == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UID: &str = "9c1e0000-1111-2222-3333-444444444444";

    #[test]
    fn the_next_number_is_above_everything_that_anybody_knows() {
        let names = [
            "web-01-r0016-9c1e",
            "web-01-r0040-ffff",
            "before-upgrade",
            "web-01-r99-9c1e",
        ]
        .map(String::from);
        let known = |last_operation, manifest| KnownNumbers {
            last_operation,
            manifest,
            names: &names,
        };
        assert_eq!(next("web-01", UID, &known(3, 5)), 17);
        assert_eq!(next("web-01", UID, &known(20, 5)), 21);
        assert_eq!(next("web-01", UID, &known(20, 25)), 26);
        assert_eq!(next("other", UID, &known(0, -4)), 1);
    }

    #[test]
    fn names_sort_by_number_and_are_points_names() {
        assert_eq!(name("web-01", 16, UID), "web-01-r0016-9c1e");
        assert!(name("a", 9, UID) < name("a", 10, UID));
    }

    proptest! {
        #[test]
        fn a_name_reads_back_for_its_own_twin_only(twin in "[a-z][a-z0-9-]{0,20}", number in 0..i64::MAX) {
            let text = name(&twin, number, UID);
            prop_assert_eq!(parse(&text, &twin, UID), Some(number));
            prop_assert_eq!(parse(&text, &format!("{twin}x"), UID), None);
        }

        #[test]
        fn any_text_is_parsed_without_panic(text in ".{0,60}") {
            let _ = parse(&text, "web", UID);
        }
    }
}
