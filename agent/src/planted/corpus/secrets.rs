//! Makes secrets: each from a seed, in the shapes that real ones have.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const ALPHANUMERIC: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const BASE64: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL_BASE64: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
const UPPER: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const HEX: &[u8] = b"0123456789abcdef";
const SIGNS: &[u8] = b"abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ0123456789!#*+,.:^_~=";

/// Well-known tokens: what they begin with, which characters follow and how many.
const TOKENS: [(&str, &[u8], usize); 28] = [
    ("AKIA", UPPER, 16),
    ("ASIA", UPPER, 16),
    ("", BASE64, 40),
    ("ghp_", ALPHANUMERIC, 36),
    ("gho_", ALPHANUMERIC, 36),
    ("ghs_", ALPHANUMERIC, 36),
    ("github_pat_", ALPHANUMERIC, 82),
    ("glpat-", ALPHANUMERIC, 20),
    ("xoxb-123456789012-", ALPHANUMERIC, 24),
    ("xoxp-123456789012-", ALPHANUMERIC, 24),
    ("xapp-1-", ALPHANUMERIC, 32),
    ("sk_live_", ALPHANUMERIC, 24),
    ("rk_live_", ALPHANUMERIC, 24),
    ("whsec_", ALPHANUMERIC, 32),
    ("AIza", URL_BASE64, 35),
    ("ya29.", URL_BASE64, 60),
    ("GOCSPX-", ALPHANUMERIC, 28),
    ("npm_", ALPHANUMERIC, 36),
    ("pypi-AgEIcHlwaS5vcmc", URL_BASE64, 70),
    ("dckr_pat_", ALPHANUMERIC, 27),
    ("hvs.", ALPHANUMERIC, 90),
    ("sk-proj-", ALPHANUMERIC, 48),
    ("hf_", ALPHANUMERIC, 34),
    ("dop_v1_", HEX, 64),
    ("SG.", ALPHANUMERIC, 60),
    ("key-", HEX, 32),
    ("glsa_", ALPHANUMERIC, 32),
    ("12345678:AA", ALPHANUMERIC, 33),
];

/// A source of secrets.
pub struct Secrets(StdRng);

impl Secrets {
    pub fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// The secret of a place holder: `pw`, `sym`, `hex`, `b64`, `uuid`, `tok`, `jwt`.
    pub fn make(&mut self, kind: &str) -> String {
        match kind {
            "pw" => self.draw(ALPHANUMERIC, 24),
            "sym" => format!("K{}9", self.draw(SIGNS, 18)),
            "hex" => self.draw(HEX, 32),
            "b64" => format!("{}=", self.draw(BASE64, 43)),
            "pem" => self.draw(BASE64, 64),
            "uuid" => [8, 4, 4, 4, 12].map(|n| self.draw(HEX, n)).join("-"),
            "jwt" => format!(
                "eyJhbGciOiJIUzI1NiJ9.{}.{}",
                self.draw(URL_BASE64, 60),
                self.draw(URL_BASE64, 43)
            ),
            "tok" => {
                let (prefix, alphabet, len) = TOKENS[self.0.random_range(0..TOKENS.len())];
                format!("{prefix}{}", self.draw(alphabet, len))
            }
            other => panic!("no secret is called {other}"),
        }
    }

    /// The first and last are letters and a digit is among them, as generators of passwords see to.
    fn draw(&mut self, alphabet: &[u8], len: usize) -> String {
        let mut text: Vec<u8> = (0..len)
            .map(|_| alphabet[self.0.random_range(0..alphabet.len())])
            .collect();
        if len >= 16 {
            text[0] = if alphabet == HEX { b'b' } else { b'Q' };
            text[len / 2] = if alphabet == UPPER { b'4' } else { b'7' };
            text[len - 1] = if alphabet == UPPER || alphabet == HEX {
                b'2'
            } else {
                b'X'
            };
            if alphabet == UPPER || alphabet == HEX {
                text[len - 1] = b'2';
            }
        }
        String::from_utf8(text).unwrap()
    }
}

pub fn hex(text: &str) -> String {
    text.bytes().map(|b| format!("{b:02x}")).collect()
}

pub fn percent(text: &str) -> String {
    text.bytes().map(|b| format!("%{b:02X}")).collect()
}

/// As a URL has it: letters and digits stand for themselves.
pub fn url(text: &str) -> String {
    let one = |b: u8| match b.is_ascii_alphanumeric() {
        true => char::from(b).to_string(),
        false => format!("%{b:02X}"),
    };
    text.bytes().map(one).collect()
}

/// Standard base64 (RFC 4648), with padding.
pub fn base64(text: &str) -> String {
    let mut out = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let bits = chunk.iter().fold(0u32, |n, b| n << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            match place <= chunk.len() {
                true => out.push(char::from(BASE64[(bits >> (18 - 6 * place) & 63) as usize])),
                false => out.push('='),
            }
        }
    }
    out
}

/// What must not be found of a secret: itself, its encodings, its halves.
pub fn traces(secret: &str) -> Vec<String> {
    let mut traces = vec![
        secret.to_owned(),
        hex(secret),
        hex(secret).to_uppercase(),
        percent(secret),
        url(secret),
        base64(secret).trim_end_matches('=').to_owned(),
    ];
    // Within a longer text that is encoded as a whole, a secret begins at any of three places.
    for before in [1, 2] {
        let whole = base64(&("x".repeat(before) + secret));
        let whole = whole.trim_end_matches('=');
        traces.push(whole[before + 1..whole.len() - 1].to_owned());
    }
    let url_safe: Vec<String> = traces
        .iter()
        .map(|t| t.replace('+', "-").replace('/', "_"))
        .collect();
    traces.extend(url_safe);
    let escaped = serde_json::to_string(secret).unwrap();
    traces.push(escaped.trim_matches('"').to_owned());
    if secret.len() >= 24 {
        let (first, second) = secret.split_at(secret.len() / 2);
        traces.extend([first.to_owned(), second.to_owned()]);
    }
    traces
}
