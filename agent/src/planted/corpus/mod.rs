//! Secrets as real ones look and are written, for tests: this crate's own, and those on a real host, which take this
//! module by its path.

pub mod formats;
pub mod secrets;

use self::secrets::Secrets;

/// A format with secrets in it.
pub struct Planted {
    pub format: &'static str,
    /// What is to be written.
    pub text: String,
    pub secrets: Vec<String>,
}

/// Writes new secrets into a format.
pub fn plant(secrets: &mut Secrets, format: &'static str) -> Planted {
    let mut planted = Planted {
        format,
        text: String::new(),
        secrets: Vec::new(),
    };
    let mut rest = format;
    while let Some(open) = rest.find('{') {
        let (before, from) = rest.split_at(open);
        planted.text.push_str(before);
        let close = from.find('}').unwrap_or(0);
        let (kind, form) = from[1..close.max(1)]
            .split_once(':')
            .unwrap_or((&from[1..close.max(1)], ""));
        if ["pw", "sym", "hex", "b64", "pem", "uuid", "jwt", "tok"].contains(&kind) {
            let secret = secrets.make(kind);
            planted.text.push_str(&match form {
                "base64" => secrets::base64(&secret),
                "hex" => secrets::hex(&secret),
                "percent" => secrets::percent(&secret),
                "url" => secrets::url(&secret),
                _ => secret.clone(),
            });
            planted.secrets.push(secret);
            rest = &from[close + 1..];
        } else {
            planted.text.push('{');
            rest = &from[1..];
        }
    }
    planted.text.push_str(rest);
    planted
}

/// A word of a unit file, in quotes.
pub fn quoted(text: &str) -> String {
    let escaped = text
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n");
    format!("\"{escaped}\"")
}

/// Each line as a comment.
pub fn commented(text: &str) -> String {
    text.lines().map(|line| format!("# {line}\n")).collect()
}
