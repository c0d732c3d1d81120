//! Redacts a word: an account with its password, and what is a secret by its shape.

use super::shape::{SHORTEST, secret_value};
use super::text::{Scanner, is_name};
use super::value::{AHEAD, ahead, char_at, len_until, len_while};

impl Scanner<'_> {
    /// `user:secret@host` without a scheme, and Oracle's `thin:user/secret@host`.
    pub(super) fn account(&mut self, len: usize) -> bool {
        let name = self.rest.get(..len).unwrap_or_default();
        if char_at(self.rest, len) != Some(':') {
            return false;
        }
        let seen = ahead(self.rest, len + AHEAD);
        let end = len_until(seen, |c| c.is_whitespace() || "\"'<>,;()".contains(c));
        let word = seen.get(..end).unwrap_or_default();
        let Some(at) = word.rfind('@') else { return false };
        let host = word.get(at + 1..).unwrap_or_default();
        let secret = word.get(len + 1..at).unwrap_or_default();
        let is_host = host.starts_with(|c: char| c.is_ascii_alphanumeric()) && !host.starts_with("sha256:");
        if !is_host || secret.is_empty() {
            return false;
        }
        let schemes = [
            "mailto", "sip", "sips", "xmpp", "acct", "man", "npm", "jdbc", "tcp", "udp", "unix",
        ];
        if name == "thin"
            && let Some(slash) = secret.find('/')
        {
            self.keep(len + 1 + slash + 1);
            self.redact(secret.len() - slash - 1);
            return true;
        }
        if schemes.contains(&name) || secret.contains('/') || secret.starts_with(':') {
            return false;
        }
        self.keep(len + 1);
        self.redact(secret.len());
        true
    }

    /// The length of a secret by shape at the start of `rest`, whose name-like part is `len` long.
    pub(super) fn secret_word(&mut self, len: usize) -> Option<usize> {
        // A value may hold more than names do: the longest word first. What follows its first part was judged with it,
        // so that for each of the others the beginning is enough.
        let left = self.rest.len().saturating_sub(self.judged);
        let longest = match left {
            0 => len_while(self.rest, |c| is_name(c) || "+/=:".contains(c)),
            left => left,
        };
        self.judged = self.rest.len() - longest;
        if longest < SHORTEST {
            return None;
        }
        let most = if left == 0 { longest } else { AHEAD.max(len) };
        let seen = longest.min(most);
        let word = self.rest.get(..seen)?;
        let until = |sign: fn(u8) -> bool| word.bytes().position(sign).unwrap_or(seen);
        let name = self.rest.get(..len)?;
        let lengths = [
            seen,
            until(|b| b == b':'),
            until(|b| b == b'/'),
            until(|b| b == b'.'),
            until(|b| b == b'=' || b == b':'),
            len,
            name.trim_end_matches('.').len(),
        ];
        let found = lengths.iter().enumerate().find(|(at, len)| {
            let is_secret = |word: &str| secret_value(word) || self.redactor.is_machine_id(word);
            let is_new = lengths.get(..*at).is_some_and(|before| !before.contains(len));
            is_new && **len >= SHORTEST && word.get(..**len).is_some_and(is_secret)
        });
        // Of which only the beginning was seen, all of it is the secret.
        found.map(|(at, len)| if at == 0 { longest } else { *len })
    }
}
