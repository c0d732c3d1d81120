//! How a value that was taken out on the host looks: `<redacted:1a2b3c>`, or `<redacted>` from a host
//! that has no key for the digest. The digits are a keyed digest of the value: they change when it does.

use std::borrow::Cow;

use crate::digest::hex;

/// What stands for a value of which no digest can be made.
pub const PLAIN: &str = "<redacted>";
const OPEN: &[u8] = b"<redacted";
/// Bytes of the digest that are shown: enough to see a change, too few to tell a good guess from a bad one.
pub const DIGEST_BYTES: usize = 3;

/// What stands for a value with this digest.
pub fn placeholder(digest: Option<[u8; DIGEST_BYTES]>) -> String {
    match digest {
        Some(digest) => format!("<redacted:{}>", hex(&digest)),
        None => PLAIN.to_owned(),
    }
}

/// The length of the placeholder, of either form, that `bytes` begin with. The one place that knows them.
pub fn placeholder_len(bytes: &[u8]) -> Option<usize> {
    let rest = bytes.strip_prefix(OPEN)?;
    if rest.starts_with(b">") {
        return Some(OPEN.len() + 1);
    }
    let (digits, end) = rest.strip_prefix(b":")?.split_at_checked(2 * DIGEST_BYTES)?;
    let are_hex = digits.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    (are_hex && end.starts_with(b">")).then_some(OPEN.len() + 1 + digits.len() + 1)
}

/// Whether the whole text is one placeholder.
pub fn is_placeholder(text: &str) -> bool {
    placeholder_len(text.as_bytes()) == Some(text.len())
}

/// How many placeholders there are in `bytes`.
pub fn count(bytes: &[u8]) -> u32 {
    let found = (0..bytes.len()).filter(|at| bytes.get(*at..).and_then(placeholder_len).is_some());
    u32::try_from(found.count()).unwrap_or(u32::MAX)
}

/// The bytes without the digests in them: what stays when only a secret changes.
pub fn shape(bytes: &[u8]) -> Cow<'_, [u8]> {
    if count(bytes) == 0 {
        return Cow::Borrowed(bytes);
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        match placeholder_len(rest) {
            Some(len) => {
                out.extend(PLAIN.as_bytes());
                rest = rest.get(len..).unwrap_or_default();
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_placeholders_and_nothing_else_is() {
        let digested = placeholder(Some([0x1a, 0x2b, 0x3c]));
        assert_eq!(digested, "<redacted:1a2b3c>");
        assert_eq!(placeholder(None), PLAIN);
        for text in [PLAIN, &digested] {
            assert!(is_placeholder(text), "{text}");
        }
        for text in [
            "",
            "<redacted",
            "<redacted:>",
            "<redacted:1A2B3C>",
            "<redacted:1a2b3c",
            "<redacted:1a2b3c4>",
            "<redacted>x",
            "x<redacted>",
        ] {
            assert!(!is_placeholder(text), "{text}");
        }
    }

    #[test]
    fn placeholders_are_counted_and_lose_their_digests_where_they_stand() {
        let text = b"\xff-p<redacted:1a2b3c> <redacted> <redacted:zzzzzz>";
        assert_eq!(count(text), 2);
        assert_eq!(*shape(text), *b"\xff-p<redacted> <redacted> <redacted:zzzzzz>");
        assert!(matches!(shape(b"plain"), Cow::Borrowed(_)));
    }
}
