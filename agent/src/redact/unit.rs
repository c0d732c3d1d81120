//! Redacts the text of a unit file or drop-in.
//!
//! Values of `Environment=` are kept where they are allowed: a service without its `PORT=8080` would not run in the
//! twin. Credentials set in the text are always replaced.

use safetytwin_crds::redaction;

use super::text::scan as plain;
use super::{Redacted, Redactor, environment, pem, shape};

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

/// Physical lines with the continuations that follow them, line ends included.
fn logical_lines(source: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut start = 0;
    let mut at = 0;
    for physical in source.split_inclusive('\n') {
        at += physical.len();
        // A comment inside a continuation does not end it.
        let comment = start + physical.len() < at && physical.trim_start().starts_with(['#', ';']);
        if !comment && !physical.trim_end_matches(['\n', '\r']).ends_with('\\') {
            lines.extend(source.get(start..at));
            start = at;
        }
    }
    lines.extend(source.get(start..).filter(|l| !l.is_empty()));
    lines
}

fn line(redactor: &Redactor, line: &str) -> Redacted {
    // The directive's own name is systemd's (LoadCredential=, …) and holds no secret.
    let directive = line.split_once('=').filter(|(key, _)| {
        let key = key.trim();
        !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    });
    let Some((key, value)) = directive else {
        return plain(redactor, line);
    };
    let name = key.trim();
    if name.starts_with("SetCredential") {
        return credential(redactor, key, value);
    }
    // `PASSWORD=…` of an environment file that stands where a directive should, or a token.
    if shape::secret_value(name) || shape::secret_name(name) && !name.contains("Credential") {
        return plain(redactor, line);
    }
    if environment::is_directive(name) {
        return environment::assignments(redactor, value).prefixed(key);
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
