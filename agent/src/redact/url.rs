//! Redacts a URL: user information, signed queries, and paths that are a secret themselves.

use super::shape::{secret_name, secret_value};
use super::text::{Scanner, scan};
use super::value::{AHEAD, ahead, len_until};

/// Beginnings of paths whose rest is a secret: whoever knows it may post.
const HOOKS: [&str; 4] = [
    "hooks.slack.com/services/",
    "/webhooks/",
    "/webhook/",
    "/incomingwebhook/",
];

impl Scanner<'_> {
    /// `rest` begins with a URL whose scheme and slashes are `scheme` bytes long.
    pub(super) fn url(&mut self, scheme: usize) {
        self.keep(scheme);
        // What is inside a URL was looked at with it: of a second one there the beginning is enough.
        let inside = self.rest.len() > self.known_url;
        let seen = if inside { AHEAD } else { usize::MAX };
        if let Some(at) = user_information(url(ahead(self.rest, seen))) {
            self.drop(at);
            self.keep(1);
        }
        let whole = url(ahead(self.rest, seen));
        if !inside {
            self.known_url = self.rest.len() - whole.len();
        }
        if let Some(hook) = HOOKS.iter().find_map(|hook| Some(whole.find(hook)? + hook.len())) {
            self.keep(hook);
            return self.drop(url(self.rest).len());
        }
        let Some(path) = whole.find(['?', '#']) else {
            return;
        };
        let query = whole.get(path + 1..).unwrap_or_default();
        let secret = |pair: &str| match pair.split_once('=') {
            Some((name, value)) => secret_name(name) || secret_value(value),
            None => secret_value(pair),
        };
        if query.split(['&', ';', '?', '#']).any(secret) {
            let scanned = scan(self.redactor, whole.get(..path).unwrap_or_default());
            self.keep(0);
            self.rest = self.rest.get(path..).unwrap_or_default();
            self.out.push_str(&scanned.text);
            self.count += scanned.count;
            self.keep(1);
            self.drop(url(self.rest).len());
        }
    }
}

fn url(text: &str) -> &str {
    let end = len_until(text, |c| c.is_whitespace() || "\"'<>\\".contains(c));
    text.get(..end).unwrap_or_default()
}

/// The length of the user information, unless it is only a name as in `ssh://git@host`. A password may
/// hold a slash that nobody encoded.
fn user_information(url: &str) -> Option<usize> {
    let authority = url.get(..len_until(url, |c| "/?#".contains(c)))?;
    let at = match authority.rfind('@') {
        Some(at) => at,
        None => {
            let (_, port) = authority.split_once(':')?;
            let is_port = port.bytes().all(|b| b.is_ascii_digit());
            url.rfind('@').filter(|_| !is_port)?
        }
    };
    let user = url.get(..at)?;
    let name = user.len() <= 16
        && user
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b == b'-' || b == b'_');
    (!name).then_some(at)
}
