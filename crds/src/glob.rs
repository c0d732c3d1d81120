//! Patterns of names: `*` stands for any text, everything else for itself.

/// Whether `text` matches `pattern`. Linear in the product of their lengths, never worse.
pub fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    true
}

/// Whether any of the patterns matches any of the texts.
pub fn any<'a>(patterns: &[String], texts: impl IntoIterator<Item = &'a str>) -> bool {
    texts
        .into_iter()
        .any(|text| patterns.iter().any(|pattern| matches(pattern, text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text_and_nothing_else_is_special() {
        for (pattern, text) in [
            ("*", ""),
            ("*", "a"),
            ("a*", "a"),
            ("a*c", "abc"),
            ("a*b*c", "axxbyyc"),
            ("backup-*.service", "backup-db.service"),
            ("a.b", "a.b"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("a", "ab"),
            ("a*c", "ab"),
            ("a*b*c", "acb"),
            ("a.b", "axb"),
            ("", "a"),
            ("aa*aa", "aaa"),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }
}
