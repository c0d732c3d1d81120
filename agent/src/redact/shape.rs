//! What a secret's name and a secret's value look like.

use safetytwin_crds::redaction::is_placeholder;

use super::known::PREFIXES;
use super::value::{ahead, len_until};

/// Words that make a name secret wherever they stand in it.
const WORDS: [&str; 21] = [
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "secret",
    "secrets",
    "token",
    "credential",
    "credentials",
    "apikey",
    "jwt",
    "bearer",
    "signature",
    "authorization",
    "cookie",
    "psk",
    "passin",
    "passout",
    "bindpw",
    "rocommunity",
    "rwcommunity",
];
/// Words that do so before `key`: API_KEY, private-key.
const KEYS: [&str; 14] = [
    "api",
    "access",
    "private",
    "secret",
    "encryption",
    "signing",
    "master",
    "auth",
    "account",
    "shared",
    "client",
    "crypt",
    "preshared",
    "hmac",
];
/// Endings of names that hold something about a secret, not the secret.
const ABOUT: [&str; 34] = [
    "file",
    "files",
    "path",
    "dir",
    "directory",
    "url",
    "uri",
    "endpoint",
    "name",
    "id",
    "mode",
    "type",
    "ttl",
    "timeout",
    "duration",
    "expiry",
    "expiration",
    "policy",
    "length",
    "size",
    "min",
    "max",
    "provider",
    "helper",
    "command",
    "store",
    "ref",
    "enabled",
    "webhook",
    "header",
    "algorithm",
    "audience",
    "limit",
    "jar",
];

/// Whether a variable, flag, header, label or parameter of this name holds a secret.
pub fn secret_name(name: &str) -> bool {
    // `--secret0-key`, `TOKEN2`: a number says which.
    let words = split(name)
        .into_iter()
        .map(|word| word.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned());
    let words: Vec<String> = words.filter(|word| !word.is_empty()).collect();
    let Some(last) = words.last() else { return false };
    // The secret_id of a Vault role is its password.
    let role = words.ends_with(&["secret".to_owned(), "id".to_owned()]);
    // `--no-password` takes nothing.
    if words.first().is_some_and(|first| first == "no")
        || (ABOUT.contains(&last.as_str()) && !role)
        || matches!(words.as_slice(), [one] if one == "pwd" || one == "oldpwd")
    {
        return false;
    }
    let plain = words.iter().any(|word| {
        WORDS.contains(&word.as_str())
            || word.ends_with("password")
            || word.ends_with("passwd")
            || word.ends_with("passphrase")
            || (word.len() > 5 && word.ends_with("token"))
            || (word.len() > 6 && word.ends_with("secret"))
    });
    let key = words
        .windows(2)
        .any(|pair| matches!(pair, [first, second] if second == "key" && KEYS.contains(&first.as_str())));
    let joined = KEYS.iter().any(|first| last.strip_suffix("key") == Some(first));
    let pass = last.ends_with("pass") && !["compass", "bypass", "multipass", "pass"].contains(&last.as_str());
    plain || key || joined || pass || matches!(last.as_str(), "pass" | "pwd" | "auth" | "sig" | "community")
}

/// Lower-case words of a name: split at anything that is no letter or digit, and at `aB`.
pub fn split(name: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut lower_before = false;
    for c in name.chars() {
        let boundary = !c.is_ascii_alphanumeric() || (c.is_ascii_uppercase() && lower_before);
        if boundary && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if c.is_ascii_alphanumeric() {
            word.push(c.to_ascii_lowercase());
        }
        lower_before = c.is_ascii_lowercase();
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Whether a secret-named setting's value is worth hiding: not empty, no boolean, no placeholder.
pub fn hides(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    !matches!(
        lower.as_str(),
        "" | "true" | "false" | "yes" | "no" | "on" | "off" | "none" | "null" | "-"
    ) && !is_placeholder(value)
        && !is_reference(value)
        && !is_path(value)
}

/// A file says where the secret is.
fn is_path(value: &str) -> bool {
    let top = value.strip_prefix('/').and_then(|rest| rest.split_once('/'));
    let known = [
        "etc", "run", "var", "usr", "home", "root", "srv", "opt", "mnt", "tmp", "proc", "sys", "dev", "lib",
        "boot",
    ];
    top.is_some_and(|(top, _)| known.contains(&top))
}

/// `$NAME`, `${NAME}`, `$(command)`, `%d/name`: says where the secret is.
fn is_reference(value: &str) -> bool {
    let name = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let braced = |text: &str| {
        let inner = text.strip_prefix('{');
        inner.is_some_and(|inner| name(inner.strip_suffix('}').unwrap_or(inner)))
    };
    let command = |text: &str| text.starts_with('(');
    value
        .strip_prefix('$')
        .is_some_and(|rest| braced(rest) || command(rest) || name(rest) && !has_digit(rest))
        || value.starts_with("%d/")
}

/// No secret that is known by its shape is shorter.
pub const SHORTEST: usize = 18;

/// Whether a word is a secret by its own shape, whatever its name.
pub fn secret_value(word: &str) -> bool {
    let jwt = word.starts_with("eyJ") && word.matches('.').count() == 2 && word.len() > 40;
    let (bot, token) = word.split_once(':').unwrap_or_default();
    let digits = bot.strip_prefix("bot").unwrap_or(bot);
    let telegram = (8..=10).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    let telegram = telegram && token.len() >= 35 && token.get(..35).is_some_and(is_token);
    has_known_prefix(word) || telegram || jwt || is_random(word)
}

/// Whether a token of a known shape is the word, or the end of a longer name: `note-ghp_…`.
fn has_known_prefix(word: &str) -> bool {
    let last = |test: fn(u8) -> bool| word.bytes().rposition(test);
    // A token goes on to the end of the word.
    let tokens = last(|byte| !is_of_token(byte)).map_or(0, |at| at + 1);
    let digit = last(|byte| byte.is_ascii_digit());
    let parts = word.match_indices(['-', '_', '.', '/']).map(|(at, _)| at + 1);
    std::iter::once(0).chain(parts).any(|at| {
        let part = word.get(at..).unwrap_or_default();
        is_aws(part)
            || at >= tokens
                && PREFIXES.iter().any(|(prefix, least)| {
                    let rest = at + prefix.len();
                    part.starts_with(prefix)
                        && word.len() >= rest + least
                        && digit.is_some_and(|digit| digit >= rest)
                })
    })
}

/// Whether an id of an access key of AWS begins here.
fn is_aws(part: &str) -> bool {
    let id = |part: &str| ahead(part, 21).split(['-', '_', '.', '/']).next().map(str::len) == Some(20);
    (part.starts_with("AKIA") || part.starts_with("ASIA")) && id(part) && part.get(..20).is_some_and(is_token)
}

/// The length of a password hash of crypt(5), `$6$salt$hash`.
pub fn crypt(text: &str) -> Option<usize> {
    let rest = text.strip_prefix('$')?;
    let (method, hash) = rest.split_once('$')?;
    let known = [
        "1", "2a", "2b", "2y", "5", "6", "y", "7", "apr1", "argon2id", "argon2i",
    ];
    if !known.contains(&method) {
        return None;
    }
    let end = len_until(hash, |c| c.is_whitespace() || "\"':;".contains(c));
    (end >= 20).then(|| 1 + method.len() + 1 + end)
}

fn is_token(text: &str) -> bool {
    text.bytes().all(is_of_token)
}

fn is_of_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)
}

fn has_digit(text: &str) -> bool {
    text.bytes().any(|b| b.is_ascii_digit())
}

/// 24 and more characters of base64 that jump between the kinds of characters as chance does; no
/// hex digests, no paths, no names in mixed case.
fn is_random(word: &str) -> bool {
    let word = without_uuid(word);
    // Checksums of packages and public keys.
    let public = [
        "sha256-",
        "sha384-",
        "sha512-",
        "AAAAC3Nza",
        "AAAAB3Nza",
        "AAAAE2Vj",
    ];
    let base64 = |b: u8| b.is_ascii_alphanumeric() || b"+/=_-".contains(&b);
    let count = |test: fn(&u8) -> bool| word.bytes().filter(test).count();
    word.len() >= 24
        && !public.iter().any(|start| word.starts_with(start))
        && !word.starts_with('/')
        && word.bytes().all(base64)
        && count(u8::is_ascii_uppercase) >= 3
        && count(u8::is_ascii_lowercase) >= 3
        && count(u8::is_ascii_digit) >= 2
        && (jumps(word) * 10 >= word.len() * 3 && entropy(word) >= 3.9
            || word.len() >= 40 && count(u8::is_ascii_digit) >= 4 && entropy(word) >= 4.5)
}

/// `StubPcrKernelImage-4a67b082-…` is the name of an EFI variable: a UUID says nothing.
fn without_uuid(word: &str) -> &str {
    let Some((before, uuid)) = word
        .len()
        .checked_sub(36)
        .and_then(|at| word.split_at_checked(at))
    else {
        return word;
    };
    let lengths: Vec<usize> = uuid.split('-').map(str::len).collect();
    let digits = uuid.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    if digits && lengths == [8, 4, 4, 4, 12] {
        before
    } else {
        word
    }
}

/// How often the kind of character changes.
fn jumps(word: &str) -> usize {
    let kind = |b: u8| match b {
        b'a'..=b'z' => 0,
        b'A'..=b'Z' => 1,
        b'0'..=b'9' => 2,
        _ => 3,
    };
    word.bytes()
        .zip(word.bytes().skip(1))
        .filter(|(a, b)| kind(*a) != 3 && kind(*b) != 3 && kind(*a) != kind(*b))
        .count()
}

/// Shannon entropy in bits per byte.
fn entropy(word: &str) -> f64 {
    let mut counts = [0u32; 256];
    for byte in word.bytes() {
        if let Some(count) = counts.get_mut(usize::from(byte)) {
            *count += 1;
        }
    }
    let total = word.len() as f64;
    let bits = |count: &u32| {
        let share = f64::from(*count) / total;
        -share * share.log2()
    };
    counts.iter().filter(|c| **c > 0).map(bits).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_are_told_from_names_about_secrets() {
        for name in [
            "PASSWORD",
            "DB_PASS",
            "MYSQL_PWD",
            "PGPASSWORD",
            "apiKey",
            "API_KEY",
            "access-token",
            "authToken",
            "client_secret",
            "X-Api-Key",
            "Authorization",
            "privatekey",
            "AWS_SECRET_ACCESS_KEY",
            "stripetoken",
            "X-Amz-Signature",
            "sig",
            "SESSION_SECRET",
            "proxy-auth",
            "secret_id",
            "storepass",
            "client-key-data",
            "Cookie",
        ] {
            assert!(secret_name(name), "{name}");
        }
        for name in [
            "PATH",
            "PWD",
            "OLDPWD",
            "PORT",
            "password-file",
            "TOKEN_TTL",
            "authorization-mode",
            "secret_name",
            "access_key_id",
            "tokens-per-second",
            "keyboard",
            "compass",
            "user",
            "authority",
            "cookie-jar",
            "bypass",
            "",
        ] {
            assert!(!secret_name(name), "{name}");
        }
    }

    #[test]
    fn no_token_of_a_known_shape_is_shorter_than_the_shortest() {
        let least = PREFIXES.iter().map(|(prefix, least)| prefix.len() + least);
        assert_eq!(least.min(), Some(SHORTEST));
    }

    #[test]
    fn values_of_known_shapes_are_secrets_and_digests_and_paths_are_not() {
        for value in [
            "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
            "AKIAIOSFODNN7EXAMPLE",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY1234",
        ] {
            assert!(secret_value(value), "{value}");
        }
        for value in [
            "sha256",
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "123e4567-e89b-12d3-a456-426614174000",
            "/usr/lib/x86_64-linux-gnu/libexec/Some/Very/Long/Path/To/A/Program1234",
            "containerd-shim-runc-v2",
        ] {
            assert!(!secret_value(value), "{value}");
        }
    }
}
