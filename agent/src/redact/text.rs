//! Redacts one text: URLs' user information and signed queries, `name=value` and `name: value`
//! pairs with secret names, `--secret value`, what known programs take as a secret, and words of
//! secret shape. All else keeps its bytes.

use super::known::{KEYWORDS, Program, program_of};
use super::shape::{crypt, hides, secret_name};
use super::value::{
    AHEAD, Separator, ahead, between, char_at, gap, len_until, len_while, quoted_end, separator, unquoted_end,
};
use super::{Redacted, Redactor, pem};
use safetytwin_crds::redaction::placeholder_len;

/// How deep comments are looked for between the lines of comments.
const DEEPEST: u8 = 3;
/// How many empty values and schemes are passed over before a value.
const HOPS: u8 = 16;

/// `text` without what looks like a secret.
pub(super) fn text(redactor: &Redactor, text: &str) -> Redacted {
    let keys = pem::text(redactor, text);
    let mut redacted = scan(redactor, &keys.text);
    redacted.count += keys.count;
    redacted
}

/// `text` without its secrets; private keys are gone already.
pub(super) fn scan(redactor: &Redactor, text: &str) -> Redacted {
    scan_at(0, redactor, text)
}

fn scan_at(depth: u8, redactor: &Redactor, text: &str) -> Redacted {
    let mut scanned = Scanner::new(depth, redactor, text).scanned(Scanner::run);
    // What a rule passed over, such as a user's name before a password, may be a token itself.
    let swept = Scanner::new(depth, redactor, &scanned.text).scanned(Scanner::sweep);
    scanned.text = swept.text;
    scanned.count += swept.count;
    scanned
}

impl<'a> Scanner<'a> {
    fn new(depth: u8, redactor: &'a Redactor, text: &'a str) -> Self {
        Self {
            redactor,
            depth,
            judged: text.len(),
            known_url: text.len(),
            rest: text,
            out: String::with_capacity(text.len()),
            count: 0,
            before: None,
            program: None,
        }
    }

    fn scanned(mut self, scan: fn(&mut Self)) -> Redacted {
        scan(&mut self);
        Redacted {
            text: self.out,
            count: self.count,
        }
    }
}

pub(super) struct Scanner<'a> {
    pub(super) redactor: &'a Redactor,
    /// In how many comments this text stands.
    depth: u8,
    /// Length of `rest` after the last words without white space between that were judged as a whole.
    pub(super) judged: usize,
    /// Length of `rest` after the last URL that was looked at as a whole.
    pub(super) known_url: usize,
    pub(super) rest: &'a str,
    pub(super) out: String,
    pub(super) count: u32,
    /// Character before `rest`.
    before: Option<char>,
    /// The program whose command line this is, if its flags are known.
    program: Option<&'static Program>,
}

impl Scanner<'_> {
    fn run(&mut self) {
        while let Some(next) = self.rest.chars().next() {
            let word = len_while(self.rest, is_name);
            if let Some(placeholder) = placeholder_len(self.rest.as_bytes()) {
                self.keep(placeholder);
            } else if word > 0 {
                self.word(word);
            } else if let Some(hash) = crypt(self.rest) {
                self.drop(hash);
            } else {
                if next == '\n' && self.before == Some('\\') {
                    self.comments();
                    continue;
                }
                if matches!(next, ';' | '|') || next == '\n' {
                    self.program = None;
                }
                self.keep(next.len_utf8());
            }
        }
    }

    /// Words of secret shape alone.
    fn sweep(&mut self) {
        while let Some(next) = self.rest.chars().next() {
            let word = len_while(self.rest, is_name);
            if let Some(placeholder) = placeholder_len(self.rest.as_bytes()) {
                self.keep(placeholder);
            } else if word == 0 {
                self.keep(next.len_utf8());
            } else if let Some(secret) = self.secret_word(word) {
                self.drop(secret);
            } else {
                self.keep(word);
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
        if self.starts_word() && (self.flag(name) || self.account(len)) {
            return;
        }
        let opening = self.before.filter(|c| matches!(c, '"' | '\''));
        let element = self.before == Some('<');
        if secret_name(name)
            && let Some(Separator { len: gap, closed }) = separator(after, name.starts_with('-'), element)
        {
            self.keep(len);
            self.keep_gap(gap);
            return self.value(opening.filter(|_| !closed));
        }
        match self.secret_word(len) {
            Some(secret) => self.drop(secret),
            None => self.keep(len),
        }
    }

    fn starts_word(&self) -> bool {
        self.before
            .is_none_or(|c| c.is_whitespace() || "\"'/=,[(!@:+-;&|".contains(c))
    }

    /// What a known program takes as a secret without saying so, and words that a value follows.
    fn flag(&mut self, name: &str) -> bool {
        let after = self.rest.get(name.len()..).unwrap_or_default();
        let (gap, opening) = between(after);
        if self.before != Some('-') {
            self.program = program_of(name).or(self.program);
        }
        if gap > 0 && (KEYWORDS.contains(&name) || bearer(name, after.get(gap..).unwrap_or_default())) {
            self.keep(name.len());
            self.keep_gap(gap - opening);
            self.value(None);
            return true;
        }
        let Some(program) = self.program else { return false };
        if let Some(flag) = program.joined_len(name) {
            let opening = self.before.filter(|c| matches!(c, '"' | '\''));
            self.keep(flag);
            self.value(opening);
            return true;
        }
        if gap > 0 && program.next.contains(&name) {
            self.keep(name.len());
            self.keep_gap(gap - opening);
            self.value(None);
            return true;
        }
        if gap > 0 && program.second.contains(&name) {
            self.keep(name.len());
            self.keep_gap(gap);
            self.keep(len_until(self.rest, |c| c.is_whitespace() || "\"'".contains(c)));
            for _ in 0..2 {
                let (gap, opening) = between(self.rest);
                self.keep_gap(gap - opening);
                self.value(None);
            }
            return true;
        }
        false
    }

    /// Keeps what is between two arguments; comments in it are texts of their own.
    fn keep_gap(&mut self, len: usize) {
        let gap = self.rest.get(..len).unwrap_or_default();
        if !gap.contains(['#', ';']) {
            return self.keep(len);
        }
        // Of comments in comments in comments each line is one.
        let parts: Vec<&str> = match self.depth < DEEPEST {
            true => vec![gap],
            false => gap.split_inclusive('\n').collect(),
        };
        for part in parts {
            let scanned = scan_at(self.depth.saturating_add(1), self.redactor, part);
            self.out.push_str(&scanned.text);
            self.count += scanned.count;
        }
        self.before = gap.chars().next_back();
        self.rest = self.rest.get(len..).unwrap_or_default();
    }

    /// A continued line goes on after comments between its lines.
    fn comments(&mut self) {
        let len = gap(self.rest);
        self.keep_gap(len.max(1));
    }

    /// `rest` begins with the value of a secret name; `opening` is the quote that is open before the name.
    fn value(&mut self, opening: Option<char>) {
        let mut opening = opening;
        for _ in 0..HOPS {
            match self.value_or_next(opening) {
                Some(next) => opening = next,
                None => return,
            }
        }
    }

    /// The same; where the value is what comes next, the quote that is open before that.
    fn value_or_next(&mut self, opening: Option<char>) -> Option<Option<char>> {
        let escapes = len_while(self.rest, |c| c == '\\');
        // The quote before the name ends here: the value is the next argument.
        if opening.is_some_and(|quote| self.rest.starts_with(quote)) {
            return self.next_value();
        }
        if let Some(quote) = char_at(self.rest, escapes).filter(|c| matches!(c, '"' | '\'')) {
            self.keep(escapes + 1);
            let end = quoted_end(self.rest, quote, escapes > 0);
            let content = self.rest.get(..end).unwrap_or_default();
            // What seemed a value stands between two arguments: the second is the value.
            if !content.is_empty() && gap(content) == content.len() {
                self.keep_gap(end);
                self.keep(quote.len_utf8());
                return Some(Some(quote));
            }
            if is_scheme(content) {
                self.keep(end);
                return self.next_value();
            }
            self.redact(end);
            return None;
        }
        if self.rest.starts_with('[') {
            self.keep(1);
            self.redact(len_until(self.rest, |c| c == ']'));
            return None;
        }
        if self.rest.starts_with('{') {
            return None;
        }
        // No scheme is longer.
        let seen = ahead(self.rest, AHEAD);
        let scheme = len_until(seen, |c| c.is_whitespace() || "\"'".contains(c));
        let word = seen.get(..scheme).unwrap_or_default();
        if is_scheme(word) {
            self.keep(scheme);
            self.keep(len_while(self.rest, |c| c == ' ' || c == '\t'));
            if opening.is_some_and(|quote| self.rest.starts_with(quote)) {
                return self.next_value();
            }
        }
        if matches!(word, "|" | "|-" | ">" | ">-") {
            self.block(scheme);
            return None;
        }
        match opening.filter(|quote| self.rest.contains(*quote)) {
            Some(quote) => self.redact(quoted_end(self.rest, quote, false)),
            None => self.redact(unquoted_end(self.rest)),
        }
        None
    }

    /// The value is the argument after the quote that ends here, if there is one.
    fn next_value(&mut self) -> Option<Option<char>> {
        let (gap, opening) = between(self.rest);
        (gap > 0).then(|| {
            self.keep_gap(gap - opening);
            None
        })
    }

    /// A YAML block: the lines that are indented.
    fn block(&mut self, sign: usize) {
        self.keep(sign + len_while(self.rest.get(sign..).unwrap_or_default(), char::is_whitespace));
        let mut end = 0;
        for line in self.rest.split_inclusive('\n') {
            if end > 0 && !line.starts_with([' ', '\t']) {
                break;
            }
            end += line.len();
        }
        let body = self.rest.get(..end).unwrap_or_default();
        self.redact(body.trim_end().len());
    }

    pub(super) fn redact(&mut self, len: usize) {
        let value = self.rest.get(..len).unwrap_or_default();
        if hides(value) {
            self.drop(len);
        } else {
            self.keep(len);
        }
    }

    pub(super) fn keep(&mut self, len: usize) {
        let (kept, rest) = self.rest.split_at_checked(len).unwrap_or((self.rest, ""));
        self.out.push_str(kept);
        self.before = kept.chars().next_back().or(self.before);
        self.rest = rest;
    }

    pub(super) fn drop(&mut self, len: usize) {
        if len == 0 {
            return;
        }
        let (dropped, rest) = self.rest.split_at_checked(len).unwrap_or((self.rest, ""));
        self.before = dropped.chars().next_back();
        self.rest = rest;
        self.out.push_str(&self.redactor.placeholder(dropped));
        self.count += 1;
    }
}

pub(super) fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-' || c == '.'
}

/// What stands before the secret in a header, or between a name and its value.
fn is_scheme(word: &str) -> bool {
    ["Bearer", "Basic", "Token", "Digest", "=", ":"]
        .iter()
        .any(|scheme| word.eq_ignore_ascii_case(scheme))
}

/// `Bearer TOKEN` wherever it stands; prose ("bearer of news") has no digits.
fn bearer(name: &str, value: &str) -> bool {
    let word = value.get(..unquoted_end(value)).unwrap_or_default();
    name.eq_ignore_ascii_case("bearer") && word.len() >= 8 && word.bytes().any(|b| b.is_ascii_digit())
}
