//! Values of `Environment=` and `UnsetEnvironment=`: only what is allowed leaves the host.
//!
//! A variable may hold anything, and no rule finds every secret, so these values are published by allow-list. One is
//! kept if the administrator has allowed its name; if it is of a kind that holds no secret, such as a switch, a number,
//! a path or an address (`kinds`); or if its name says that it is a plain word (`names`). What is kept must then stand
//! before the rules for all other text.

mod kinds;
mod names;

use std::borrow::Cow;
use std::sync::Arc;

use safetytwin_crds::redaction::is_placeholder;

use super::text::scan as plain;
use super::value::{len_until, len_while};
use super::{Redacted, Redactor, shape};

/// Names of variables whose values may be published, as the administrator says. `*` at the end stands for any rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed(Arc<[String]>);

impl Allowed {
    /// Of these names.
    pub fn new(names: &[String]) -> Self {
        Self(names.into())
    }

    fn has(&self, name: &str) -> bool {
        is_one_of(name, self.0.iter().map(String::as_str))
    }
}

/// Whether the name is one of these; `*` at the end of one stands for any rest.
fn is_one_of<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> bool {
    names.into_iter().any(|one| match one.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == one,
    })
}

/// Whether values of this directive are assignments.
pub(super) fn is_directive(name: &str) -> bool {
    matches!(name, "Environment" | "UnsetEnvironment")
}

/// The assignments of a directive without the values that are not allowed; all else keeps its bytes.
pub(super) fn assignments(redactor: &Redactor, directive: &str, text: &str) -> Redacted {
    let mut out = Redacted {
        text: String::with_capacity(text.len()),
        count: 0,
    };
    let mut rest = text;
    while !rest.is_empty() {
        let (space, from) = rest.split_at(blank(rest));
        out.text.push_str(space);
        // A comment between continued lines.
        let comment = space.contains('\n') && from.starts_with(['#', ';']);
        let length = if comment {
            len_until(from, |c| c == '\n')
        } else {
            word(from)
        };
        let (word, after) = from.split_at(length);
        match word.split_once('=').filter(|_| !comment) {
            Some((name, value)) => assignment(redactor, name, value, &mut out),
            None if comment || word.is_empty() => out.add(plain(redactor, word)),
            // A word without a sign may be the rest of a value that somebody forgot to quote.
            None if directive == "UnsetEnvironment" && is_name(word) => out.add(plain(redactor, word)),
            None => out.add(whole(redactor, word)),
        }
        rest = after;
    }
    out
}

/// `NAME=VALUE` as it is written, quotes included.
fn assignment(redactor: &Redactor, before: &str, value: &str, out: &mut Redacted) {
    let quote = before.chars().next().filter(|c| matches!(c, '"' | '\''));
    let name = quote.map_or(before, |quote| before.trim_start_matches(quote));
    let quoted = quote.and_then(|quote| Some((quote, value.strip_suffix(quote)?)));
    // One pair of quotes around all of it.
    let inner = quoted.filter(|(quote, inner)| !inner.contains(*quote) && !inner.ends_with('\\'));
    let whole_word = quote.is_none() || inner.is_some();
    let (value, closing) = match inner {
        Some((_, inner)) => (inner, value.get(inner.len()..).unwrap_or_default()),
        None => (value, ""),
    };
    let read = unquoted(value);
    let allowed = is_allowed(redactor, name, &read);
    out.add(match is_name(name) {
        // Without the quotes that would stay open.
        true if !allowed && !whole_word => plain(redactor, name),
        true => plain(redactor, before),
        false => whole(redactor, before),
    });
    out.text.push('=');
    out.add(match allowed {
        true => plain(redactor, value),
        false => whole(redactor, &read),
    });
    if is_name(name) {
        out.text.push_str(closing);
    }
}

/// A text that is a secret as a whole, unless it was taken out already.
fn whole(redactor: &Redactor, text: &str) -> Redacted {
    match is_placeholder(text) {
        true => Redacted {
            text: text.to_owned(),
            count: 0,
        },
        false => redactor.whole(text),
    }
}

/// Whether it can be the name of a variable; systemd passes over all else.
fn is_name(word: &str) -> bool {
    let of_name = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    !word.is_empty() && word.bytes().all(of_name)
}

fn is_allowed(redactor: &Redactor, name: &str, value: &str) -> bool {
    // Also where the administrator allows a pattern that it falls under.
    let secret = shape::secret_name(name) && shape::hides(value);
    // Several assignments within one pair of quotes are one value to systemd.
    let several = value
        .split_whitespace()
        .skip(1)
        .any(|word| word.contains('=') && !word.starts_with('-'));
    let harmless = || {
        !several && (redactor.allowed.has(name) || names::is_ordinary(name))
            || kinds::holds_no_secret(value)
            || names::says_a_word(name) && kinds::is_word(value)
            || names::says_a_model(name) && kinds::is_model(value)
    };
    value.is_empty() || is_placeholder(value) || !secret && harmless()
}

/// The length of the white space and the continued line ends at the start.
fn blank(text: &str) -> usize {
    let mut at = 0;
    loop {
        let rest = text.get(at..).unwrap_or_default();
        match rest
            .strip_prefix('\\')
            .filter(|rest| rest.starts_with(['\n', '\r']))
        {
            Some(_) => at += 1,
            None => match len_while(rest, is_space) {
                0 => return at,
                space => at += space,
            },
        }
    }
}

/// The length of a word as systemd.syntax(7) has it: to white space outside quotes.
fn word(text: &str) -> usize {
    let mut quote = None;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match (c, quote) {
            ('\\', None) if chars.peek().is_some_and(|(_, c)| matches!(c, '\n' | '\r')) => return at,
            ('\\', _) => {
                chars.next();
            }
            ('"' | '\'', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            (c, None) if is_space(c) => return at,
            _ => {}
        }
    }
    text.len()
}

/// As systemd parts words.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

/// The value without quotes and escapes, as far as it takes to judge it.
fn unquoted(value: &str) -> Cow<'_, str> {
    if !value.contains(['\\', '"', '\'']) {
        return Cow::Borrowed(value);
    }
    let joined = value.replace("\\\n", " ");
    Cow::Owned(joined.replace(['\\', '"', '\''], ""))
}

#[cfg(test)]
mod tests;
