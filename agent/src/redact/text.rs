//! Redacts one text: URLs' user information and signed queries, `name=value` and `name: value`
//! pairs with secret names, `--secret value`, and words of secret shape. All else keeps its bytes.

use super::shape::{hides, secret_name, secret_value};
use super::{PLACEHOLDER, Redacted};

/// `text` without what looks like a secret.
pub fn text(text: &str) -> Redacted {
    let mut scanner = Scanner {
        rest: text,
        out: String::with_capacity(text.len()),
        count: 0,
        before: None,
    };
    scanner.run();
    let (text, count) = (scanner.out, scanner.count);
    if text.contains("-----BEGIN") && text.contains("PRIVATE KEY") {
        return Redacted {
            text: PLACEHOLDER.into(),
            count: count + 1,
        };
    }
    Redacted { text, count }
}

struct Scanner<'a> {
    rest: &'a str,
    out: String,
    count: u32,
    /// Character before `rest`.
    before: Option<char>,
}

impl<'a> Scanner<'a> {
    fn run(&mut self) {
        while !self.rest.is_empty() {
            let word = len_while(self.rest, is_name);
            if word == 0 {
                let step = self.rest.chars().next().map_or(1, char::len_utf8);
                self.keep(step);
            } else {
                self.word(word);
            }
        }
    }

    /// `rest` begins with `len` bytes that could be a name, or a value without one.
    fn word(&mut self, len: usize) {
        let name = self.rest.get(..len).unwrap_or_default();
        let after = self.rest.get(len..).unwrap_or_default();
        if after.starts_with("://") {
            return self.url(len + 3);
        }
        let opening = self.before.filter(|c| matches!(c, '"' | '\''));
        if secret_name(name)
            && let Some(gap) = separator(after, name.starts_with("--"))
        {
            self.keep(len + gap);
            return self.value(opening);
        }
        // A value may hold more than names do: take the longest word for its shape.
        let shape = len_while(self.rest, |c| is_name(c) || "+/=.".contains(c));
        let candidate = self.rest.get(..shape).unwrap_or_default();
        if secret_value(candidate) {
            self.drop(shape);
        } else {
            self.keep(len);
        }
    }

    /// `rest` begins with the value of a secret name; `opening` is the quote before the name.
    fn value(&mut self, opening: Option<char>) {
        let own = self.rest.chars().next().filter(|c| matches!(c, '"' | '\''));
        if let Some(quote) = own {
            self.keep(1);
            return self.redact_until(|c| c == quote);
        }
        if let Some(quote) = opening.filter(|quote| self.rest.contains(*quote)) {
            return self.redact_until(|c| c == quote);
        }
        let end = |c: char| c.is_whitespace() || "\"',;&}\\".contains(c);
        let scheme = len_until(self.rest, end);
        let word = self.rest.get(..scheme).unwrap_or_default();
        if ["Bearer", "Basic", "Token", "Digest"]
            .iter()
            .any(|s| word.eq_ignore_ascii_case(s))
        {
            self.keep(scheme);
            self.keep(len_while(self.rest, char::is_whitespace));
        }
        self.redact_until(end);
    }

    fn redact_until(&mut self, end: impl Fn(char) -> bool) {
        let len = len_until(self.rest, end);
        let value = self.rest.get(..len).unwrap_or_default();
        if hides(value) {
            self.drop(len);
        } else {
            self.keep(len);
        }
    }

    /// `rest` begins with a URL whose scheme and slashes are `scheme` bytes long.
    fn url(&mut self, scheme: usize) {
        self.keep(scheme);
        let end = len_until(self.rest, |c| c.is_whitespace() || "\"'<>\\".contains(c));
        let url = self.rest.get(..end).unwrap_or_default();
        let authority = len_until(url, |c| "/?#".contains(c));
        if let Some(at) = url.get(..authority).and_then(|a| a.rfind('@')) {
            self.drop(at);
            self.keep(1);
        }
        let end = len_until(self.rest, |c| c.is_whitespace() || "\"'<>\\".contains(c));
        let url = self.rest.get(..end).unwrap_or_default();
        let Some((path, query)) = url.split_once('?') else {
            return;
        };
        let secret = query.split(['&', ';']).any(|p| {
            p.split_once('=')
                .is_some_and(|(n, v)| secret_name(n) || secret_value(v))
        });
        if secret {
            self.keep(path.len() + 1);
            self.drop(query.len());
        } else {
            self.keep(end);
        }
    }

    fn keep(&mut self, len: usize) {
        let (kept, rest) = self.rest.split_at_checked(len).unwrap_or((self.rest, ""));
        self.out.push_str(kept);
        self.before = kept.chars().next_back().or(self.before);
        self.rest = rest;
    }

    fn drop(&mut self, len: usize) {
        if len == 0 {
            return;
        }
        let (dropped, rest) = self.rest.split_at_checked(len).unwrap_or((self.rest, ""));
        self.before = dropped.chars().next_back();
        self.rest = rest;
        self.out.push_str(PLACEHOLDER);
        self.count += 1;
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-' || c == '.'
}

fn len_while(text: &str, test: impl Fn(char) -> bool) -> usize {
    len_until(text, |c| !test(c))
}

fn len_until(text: &str, test: impl Fn(char) -> bool) -> usize {
    text.find(test).unwrap_or(text.len())
}

/// Bytes between a name and its value: `=`, `:`, `": "`, and white space after a flag.
fn separator(after: &str, flag: bool) -> Option<usize> {
    let quote = usize::from(after.starts_with(['"', '\'']));
    let rest = after.get(quote..)?;
    let blank = |text: &str| len_while(text, |c| c == ' ' || c == '\t');
    let spaces = blank(rest);
    let rest = rest.get(spaces..)?;
    if rest.starts_with(['=', ':']) && !rest.starts_with("://") {
        return Some(quote + spaces + 1 + blank(rest.get(1..)?));
    }
    // `--password VALUE`, also over a continued line; the next flag is no value.
    let gap = len_while(after, |c| c.is_whitespace() || c == '\\');
    let value = after.get(gap..)?;
    (flag && quote == 0 && gap > 0 && !value.is_empty() && !value.starts_with('-')).then_some(gap)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_many_shapes_are_replaced_and_the_rest_keeps_its_bytes() {
        for (before, after, count) in [
            ("PORT=8080 LANG=C", "PORT=8080 LANG=C", 0),
            (
                "PGPASSWORD=s3cr3t psql -h db",
                "PGPASSWORD=<redacted> psql -h db",
                1,
            ),
            ("PGPASSWORD='a b' psql", "PGPASSWORD='<redacted>' psql", 1),
            ("x --password hunter2 -v", "x --password <redacted> -v", 1),
            ("x --password -v", "x --password -v", 0),
            ("--token=abc,def", "--token=<redacted>,def", 1),
            (
                "Authorization: Bearer abc.def",
                "Authorization: Bearer <redacted>",
                1,
            ),
            ("curl -H 'X-Api-Key: a b'", "curl -H 'X-Api-Key: <redacted>'", 1),
            (
                r#"{"password": "a", "port": 1}"#,
                r#"{"password": "<redacted>", "port": 1}"#,
                1,
            ),
            (
                "Server=db;Password=x;Port=1",
                "Server=db;Password=<redacted>;Port=1",
                1,
            ),
            ("postgres://u:p@h:5432/db", "postgres://<redacted>@h:5432/db", 1),
            ("https://h/x?a=1&token=t", "https://h/x?<redacted>", 1),
            ("https://h/x?a=1", "https://h/x?a=1", 0),
            (
                "--authorization-mode=Node,RBAC",
                "--authorization-mode=Node,RBAC",
                0,
            ),
            ("--password-file=/run/p", "--password-file=/run/p", 0),
            ("a AKIAIOSFODNN7EXAMPLE b", "a <redacted> b", 1),
            ("token=${TOKEN}", "token=${TOKEN}", 0),
            ("\u{e9}password=\u{e9}\u{e9} x", "\u{e9}password=<redacted> x", 1),
        ] {
            let redacted = text(before);
            assert_eq!(
                (redacted.text.as_str(), redacted.count),
                (after, count),
                "{before}"
            );
        }
    }

    #[test]
    fn a_private_key_goes_whole() {
        let key = "a\n-----BEGIN OPENSSH PRIVATE KEY-----\nx\n";
        assert_eq!(text(key).text, PLACEHOLDER);
    }

    #[test]
    fn redacting_twice_changes_nothing_more() {
        for sample in ["--token=abc x", "PGPASSWORD='a b' psql", "postgres://u:p@h/db"] {
            let once = text(sample).text;
            assert_eq!(text(&once).text, once, "{sample}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_scanned_to_its_end(sample in ".{0,200}") {
            let redacted = text(&sample);
            proptest::prop_assert!(redacted.count > 0 || redacted.text == sample);
        }
    }
}
