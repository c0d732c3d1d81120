//! Redacts the text of a unit file or drop-in.
//!
//! `Environment=` values are kept unless their name or shape is a secret's: a service without its
//! `PORT=8080` would not run in the twin. Credentials set in the text are always replaced.

use super::text::scan as plain;
use super::{PLACEHOLDER, Redacted, pem, shape};

/// `source` without what looks like a secret; line ends and all else keep their bytes.
pub fn text(source: &str) -> Redacted {
    let mut out = Redacted {
        text: String::with_capacity(source.len()),
        count: 0,
    };
    // A private key is longer than a line; its inside must not be read as lines.
    let keys = pem::text(source);
    out.count += keys.count;
    for line in logical_lines(&keys.text) {
        let redacted = self::line(line);
        out.text.push_str(&redacted.text);
        out.count += redacted.count;
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

fn line(line: &str) -> Redacted {
    // The directive's own name is systemd's (LoadCredential=, …) and holds no secret.
    let directive = line.split_once('=').filter(|(key, _)| {
        let key = key.trim();
        !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    });
    let Some((key, value)) = directive else {
        return plain(line);
    };
    let name = key.trim();
    if name.starts_with("SetCredential") {
        return credential(key, value);
    }
    // `PASSWORD=…` of an environment file that stands where a directive should.
    if shape::secret_name(name) && !name.contains("Credential") {
        return plain(line);
    }
    let redacted = plain(value);
    Redacted {
        text: format!("{key}={}", redacted.text),
        count: redacted.count,
    }
}

/// `SetCredential=ID:VALUE` (systemd.exec(5)).
fn credential(key: &str, value: &str) -> Redacted {
    let Some((id, secret)) = value.split_once(':') else {
        return plain(value).prefixed(key);
    };
    let end = secret.len() - secret.trim_end_matches(['\n', '\r']).len();
    let tail = secret.get(secret.len() - end..).unwrap_or_default();
    let hides = shape::hides(secret.trim());
    Redacted {
        text: format!("{key}={id}:{}{tail}", if hides { PLACEHOLDER } else { "" }),
        count: u32::from(hides),
    }
}

impl Redacted {
    fn prefixed(self, key: &str) -> Self {
        Self {
            text: format!("{key}={}", self.text),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_in_unit_text_are_replaced_and_services_keep_what_they_need() {
        let before = "\
[Service]
# password=old
Environment=PORT=8080 DB_PASSWORD=x \"API_KEY=a b\" PATH=/bin
Environment=TOKEN=abc\\
 LANG=C
EnvironmentFile=/etc/default/x
LoadCredential=cert:/etc/cert
SetCredential=key:very secret
ExecStart=/bin/x --token abc --password \\
  hunter2 %i $HOME
Description=Password agent
";
        let after = "\
[Service]
# password=<redacted>
Environment=PORT=8080 DB_PASSWORD=<redacted> \"API_KEY=<redacted>\" PATH=/bin
Environment=TOKEN=<redacted>\\
 LANG=C
EnvironmentFile=/etc/default/x
LoadCredential=cert:/etc/cert
SetCredential=key:<redacted>
ExecStart=/bin/x --token <redacted> --password \\
  <redacted> %i $HOME
Description=Password agent
";
        assert_eq!(
            text(before),
            Redacted {
                text: after.into(),
                count: 7
            }
        );
    }

    #[test]
    fn text_without_secrets_keeps_every_byte() {
        for source in ["", "[Unit]", "a=b\r\n\n;c\\", "x\\\ny\\\n"] {
            assert_eq!(text(source).text, source);
        }
    }
}
