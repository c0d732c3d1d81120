//! Private keys in PEM and PGP armour, which run over many lines.

use super::{Redacted, Redactor};

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";

/// `text` with a placeholder for each private key, from its first to its last line, or to the end of
/// the text when it has no last line.
pub(super) fn text(redactor: &Redactor, text: &str) -> Redacted {
    let mut out = Redacted {
        text: String::with_capacity(text.len()),
        count: 0,
    };
    let mut rest = text;
    while let Some(begin) = rest.find(BEGIN) {
        let (before, key) = rest.split_at_checked(begin).unwrap_or((rest, ""));
        let label = key.get(BEGIN.len()..).unwrap_or_default();
        let private = label
            .find("-----")
            .and_then(|end| label.get(..end))
            .is_some_and(is_private);
        out.text.push_str(before);
        let len = if private { length(key) } else { BEGIN.len() };
        if private {
            let whole = key.get(..len).unwrap_or_default();
            out.text.push_str(&redactor.placeholder(whole));
            out.count += 1;
        } else {
            out.text.push_str(BEGIN);
        }
        rest = key.get(len..).unwrap_or_default();
    }
    out.text.push_str(rest);
    out
}

fn is_private(label: &str) -> bool {
    label.contains("PRIVATE KEY")
}

fn length(key: &str) -> usize {
    let end = key.find(END).and_then(|end| {
        let label = end + END.len();
        Some(label + key.get(label..)?.find("-----")? + "-----".len())
    });
    end.unwrap_or(key.len())
}
