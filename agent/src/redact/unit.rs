//! Redacts the text of a unit file or drop-in.
//!
//! Values of `Environment=` are kept where they are allowed: a service without its `PORT=8080` would not run in the
//! twin. Credentials set in the text are always replaced.

use safetytwin_crds::redaction;

use super::text::scan as plain;
use super::{Redacted, Redactor, environment, pem, shape};

/// What ends a line for systemd.
const ENDS: [char; 3] = ['\n', '\r', '\0'];

/// One pass over `source`.
pub(super) fn text(redactor: &Redactor, source: &str) -> Redacted {
    let mut out = Redacted {
        text: String::with_capacity(source.len()),
        count: 0,
    };
    // A private key is longer than a line; its inside must not be read as lines.
    let keys = pem::text(redactor, source);
    out.count += keys.count;
    for line in logical_lines(&keys.text) {
        let redacted = self::line(redactor, line);
        out.add(redacted);
    }
    out
}

/// Physical lines with the continuations that follow them, line ends included, as systemd joins them.
fn logical_lines(source: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let (mut start, mut at) = (0, 0);
    while let Some(rest) = source.get(at..).filter(|rest| !rest.is_empty()) {
        let physical = physical_line(rest);
        let first = start == at;
        at += physical.len();
        // A comment inside a continuation does not end it, and one that stands alone begins none.
        let goes_on = match physical.trim_start().starts_with(['#', ';']) {
            true => !first,
            false => is_continued(physical),
        };
        if !goes_on {
            lines.extend(source.get(start..at));
            start = at;
        }
    }
    lines.extend(source.get(start..).filter(|l| !l.is_empty()));
    lines
}

/// Up to the end of a line, which may be of any system.
fn physical_line(text: &str) -> &str {
    let end = text.find(ENDS).unwrap_or(text.len());
    let rest = text.get(end..).unwrap_or_default();
    let sign = if rest.starts_with("\r\n") {
        2
    } else {
        rest.len().min(1)
    };
    text.get(..end + sign).unwrap_or(text)
}

/// Whether the last sign is a backslash that no other escapes.
fn is_continued(physical: &str) -> bool {
    let text = physical.trim_end_matches(ENDS);
    (text.len() - text.trim_end_matches('\\').len()) % 2 == 1
}

/// A directive's name, which may be parted over continued lines.
fn name_of(key: &str) -> String {
    let lines = key.split(ENDS).map(|line| line.trim_end_matches('\\').trim());
    let text: Vec<&str> = lines
        .filter(|line| !line.is_empty() && !line.starts_with(['#', ';']))
        .collect();
    text.join(" ")
}

fn line(redactor: &Redactor, line: &str) -> Redacted {
    // The directive's own name is systemd's (LoadCredential=, …) and holds no secret.
    let directive = line
        .split_once('=')
        .map(|(key, value)| (key, name_of(key), value));
    let directive = directive.filter(|(_, name, _)| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    });
    let Some((key, name, value)) = directive else {
        return plain(redactor, line);
    };
    let name = name.as_str();
    // A comment between its lines is no name.
    let comments = key.contains(ENDS).then(|| plain(redactor, key).text);
    let key = comments.as_deref().unwrap_or(key);
    if name.starts_with("SetCredential") {
        return credential(redactor, key, value);
    }
    // `PASSWORD=…` of an environment file that stands where a directive should, or a token.
    if shape::secret_value(name) || shape::secret_name(name) && !name.contains("Credential") {
        return plain(redactor, line);
    }
    if environment::is_directive(name) {
        let text = value.trim_end_matches(ENDS);
        let mut redacted = environment::assignments(redactor, name, text);
        redacted
            .text
            .push_str(value.get(text.len()..).unwrap_or_default());
        return redacted.prefixed(key);
    }
    plain(redactor, value).prefixed(key)
}

/// `SetCredential=ID:VALUE` (systemd.exec(5)).
fn credential(redactor: &Redactor, key: &str, value: &str) -> Redacted {
    let Some((id, secret)) = value.split_once(':') else {
        return plain(redactor, value).prefixed(key);
    };
    let end = secret.len() - secret.trim_end_matches(['\n', '\r']).len();
    let tail = secret.get(secret.len() - end..).unwrap_or_default();
    let value = secret.trim();
    let (shown, count) = match value {
        "" => (String::new(), 0),
        value if redaction::is_placeholder(value) => (value.to_owned(), 0),
        value => (redactor.placeholder(value), 1),
    };
    let id = plain(redactor, id);
    Redacted {
        text: format!("{key}={}:{shown}{tail}", id.text),
        count: id.count + count,
    }
}

impl Redacted {
    fn prefixed(self, key: &str) -> Self {
        Self {
            text: format!("{key}={}", self.text),
            ..self
        }
    }

    /// Takes on what follows.
    pub(super) fn add(&mut self, next: Self) {
        self.text.push_str(&next.text);
        self.count += next.count;
    }
}
