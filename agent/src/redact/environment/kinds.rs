//! Kinds of values that hold no secret: switches, numbers, paths, addresses, URLs of nothing but those, and options of
//! a command that are made of them.

use std::net::{IpAddr, SocketAddr};

use super::names::says_a_word;
use crate::redact::shape;

/// Words that switch something, or say how much.
const SWITCHES: [&str; 38] = [
    "true",
    "false",
    "yes",
    "no",
    "on",
    "off",
    "y",
    "n",
    "t",
    "f",
    "none",
    "null",
    "nil",
    "auto",
    "default",
    "always",
    "never",
    "enabled",
    "disabled",
    "enable",
    "disable",
    "trace",
    "debug",
    "info",
    "notice",
    "warn",
    "warning",
    "error",
    "err",
    "critical",
    "fatal",
    "json",
    "text",
    "production",
    "development",
    "staging",
    "testing",
    "test",
];
/// Units behind a number.
const UNITS: [&str; 28] = [
    "", "%", "k", "m", "g", "t", "kb", "mb", "gb", "tb", "ki", "mi", "gi", "ti", "kib", "mib", "gib", "tib",
    "b", "ns", "us", "ms", "s", "sec", "min", "h", "d", "w",
];
/// Options of Java's virtual machine that are a word behind one dash.
const JAVA: [&str; 6] = ["server", "client", "ea", "da", "esa", "dsa"];
/// Most digits of a number: those of a moment in seconds, and of a size in 32 bits.
const DIGITS: usize = 10;
/// Most letters of one part of a word, and digits before or after them.
const LETTERS: usize = 20;
const DIGITS_OF_A_WORD: usize = 4;
/// The longest word that is plain.
const WORD: usize = 64;

/// Whether each word of the value is of such a kind, or an option of a command that is followed by one.
pub fn holds_no_secret(value: &str) -> bool {
    let mut option: Option<&str> = None;
    value.split_whitespace().all(|word| {
        let before = option.take();
        let negative = |flag: &&str| flag.starts_with(|c: char| c.is_ascii_digit());
        let Some(flag) = word.strip_prefix('-').filter(|flag| !negative(flag)) else {
            return is_harmless(word) || before.is_some_and(|name| is_argument(name, word));
        };
        if is_of_java(flag) {
            return true;
        }
        let name = flag.trim_start_matches('-');
        if let Some((name, value)) = name.split_once('=') {
            return is_word(name) && is_argument(name, value);
        }
        option = Some(name);
        match name.len() == flag.len() {
            // What follows the letter of `-pVALUE` may be anything.
            true => name.len() < 2 || is_joined_number(name),
            false => is_word(name),
        }
    })
}

/// An option of Java's virtual machine: `server`, `XX:+UseG1GC`, `XX:MaxGCPauseMillis=200`.
fn is_of_java(flag: &str) -> bool {
    let Some(option) = flag.strip_prefix("XX:") else {
        return JAVA.contains(&flag);
    };
    let (name, value) = option.split_once('=').unwrap_or((option, ""));
    let name = name.strip_prefix(['+', '-']).unwrap_or(name);
    name.len() <= WORD
        && name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.bytes().all(|b| b.is_ascii_alphanumeric())
        && is_argument(name, value)
}

/// `j4`, `Xmx512m`.
fn is_joined_number(flag: &str) -> bool {
    let number = flag.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    flag.len() - number.len() <= 4 && is_number(&number.to_ascii_lowercase())
}

/// Whether an option of this name may take this value.
fn is_argument(name: &str, value: &str) -> bool {
    let secret = shape::secret_name(name) && shape::hides(value);
    !secret && (is_harmless(value) || says_a_word(name) && is_word(value))
}

/// One word, or several with commas between.
fn is_harmless(word: &str) -> bool {
    word.split(',').all(|part| {
        let lower = part.to_ascii_lowercase();
        part.is_empty()
            || SWITCHES.contains(&lower.as_str())
            || is_number(&lower)
            || is_specifier(part)
            || is_address(part)
            || is_url(part)
            || part.split(':').all(is_path)
    })
}

/// `%i`: what the unit itself is called, and the like (systemd.unit(5)).
fn is_specifier(word: &str) -> bool {
    word.strip_prefix('%')
        .is_some_and(|rest| rest.len() == 1 && rest.bytes().all(|b| b.is_ascii_alphabetic()))
}

fn is_number(word: &str) -> bool {
    let digits = word.trim_start_matches(['+', '-']);
    let end = digits
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(digits.len());
    let (number, unit) = digits.split_at(end);
    number.starts_with(|c: char| c.is_ascii_digit()) && number.len() <= DIGITS && UNITS.contains(&unit)
}

/// `/usr/bin`, `~/x`, `%h/x`, `./x`.
fn is_path(word: &str) -> bool {
    let specifier = word.strip_prefix('%').and_then(|rest| rest.get(1..));
    let from = specifier
        .or_else(|| word.strip_prefix(['~', '.']))
        .unwrap_or(word);
    from.starts_with('/') && from.split('/').all(|part| part.is_empty() || is_name(part, true))
}

/// An IP address or a host's name, with or without a port; `*:80` and `:80`.
fn is_address(word: &str) -> bool {
    if word.parse::<IpAddr>().is_ok() || word.parse::<SocketAddr>().is_ok() {
        return true;
    }
    let port = |port: &str| port.parse::<u16>().is_ok();
    match word.rsplit_once(':') {
        Some((host, number)) => port(number) && (matches!(host, "" | "*" | "[::]") || is_host(host)),
        None => word == "localhost" || word.contains('.') && is_host(word),
    }
}

fn is_host(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    name.bytes().all(lower) && last.starts_with(|c: char| c.is_ascii_lowercase()) && is_name(name, false)
}

/// Without a user, a query or a fragment; its path is of plain words.
fn is_url(word: &str) -> bool {
    let Some((scheme, rest)) = word.split_once("://") else {
        return false;
    };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    scheme
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b"+.-".contains(&b))
        && (host.is_empty() || is_host(host) || is_address(host))
        && path
            .split('/')
            .all(|part| part.is_empty() || is_name(part, false))
}

/// A plain word, or several with commas or blanks between: `eu-central-1`, `a,b`. None with a sign that may part a user
/// from a password.
pub fn is_word(value: &str) -> bool {
    let mut parts = value.split(|c: char| c.is_whitespace() || c == ',');
    value.len() <= WORD
        && !value.is_empty()
        && !value.contains('@')
        && parts.all(|part| part.is_empty() || is_name(part, false))
}

/// `Qwen/Qwen2.5-7B-Instruct`, `llama3:8b`.
pub fn is_model(value: &str) -> bool {
    let parts = value.split_once('/').or_else(|| value.split_once(':'));
    parts.is_some_and(|(maker, model)| is_word(maker) && is_word(model))
}

/// Letters with a few digits before or after them, in parts; where `camel` does not allow another, each part is all of
/// one case but for its first letter. A token jumps between letters and digits.
fn is_name(word: &str, camel: bool) -> bool {
    let mut parts = word.split(|c: char| "._-+@%{}".contains(c));
    !shape::secret_value(word) && parts.all(|part| is_part(part, camel))
}

fn is_part(part: &str, camel: bool) -> bool {
    let digit = |c: char| c.is_ascii_digit();
    let after_first = part.trim_start_matches(digit);
    let letters = after_first.trim_end_matches(digit);
    let (first, last) = (part.len() - after_first.len(), after_first.len() - letters.len());
    let rest = letters.get(1..).unwrap_or_default();
    let one_case = |test: fn(&u8) -> bool| rest.bytes().all(|b| test(&b));
    first <= DIGITS_OF_A_WORD
        && last <= DIGITS_OF_A_WORD
        && letters.len() <= LETTERS
        && letters.bytes().all(|b| b.is_ascii_alphabetic())
        && (camel || one_case(u8::is_ascii_lowercase) || one_case(u8::is_ascii_uppercase))
}
