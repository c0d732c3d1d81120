//! What a secret's name and a secret's value look like.

/// Words that make a name secret wherever they stand in it.
const WORDS: [&str; 14] = [
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
];
/// Words that do so before `key`: API_KEY, private-key.
const KEYS: [&str; 10] = [
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
];
/// Endings of names that hold something about a secret, not the secret.
const ABOUT: [&str; 33] = [
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
];
/// Prefixes of well-known tokens.
const PREFIXES: [&str; 21] = [
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "xoxa-",
    "xoxr-",
    "xapp-",
    "sk-",
    "sk_live_",
    "rk_live_",
    "AIza",
    "hvs.",
    "dckr_pat_",
    "npm_",
    "pypi-",
    "SG.",
];

/// Whether a variable, flag, header, label or parameter of this name holds a secret.
pub fn secret_name(name: &str) -> bool {
    let words = split(name);
    let Some(last) = words.last() else { return false };
    if ABOUT.contains(&last.as_str()) || matches!(words.as_slice(), [one] if one == "pwd" || one == "oldpwd")
    {
        return false;
    }
    let plain = words.iter().any(|word| {
        WORDS.contains(&word.as_str())
            || word.ends_with("password")
            || word.ends_with("passwd")
            || (word.len() > 5 && word.ends_with("token"))
            || (word.len() > 6 && word.ends_with("secret"))
    });
    let key = words
        .windows(2)
        .any(|pair| matches!(pair, [first, second] if second == "key" && KEYS.contains(&first.as_str())));
    let joined = KEYS.iter().any(|first| last.strip_suffix("key") == Some(first));
    plain || key || joined || matches!(last.as_str(), "pass" | "pwd" | "auth" | "sig")
}

/// Lower-case words of a name: split at anything that is no letter or digit, and at `aB`.
fn split(name: &str) -> Vec<String> {
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
    ) && value != super::PLACEHOLDER
        && !value.starts_with("${")
}

/// Whether a word is a secret by its own shape, whatever its name.
pub fn secret_value(word: &str) -> bool {
    let known = PREFIXES.iter().any(|prefix| {
        word.strip_prefix(prefix)
            .is_some_and(|rest| rest.len() >= 16 && is_token(rest))
    });
    let aws = |id: &str| id.len() == 20 && (id.starts_with("AKIA") || id.starts_with("ASIA"));
    let jwt = word.starts_with("eyJ") && word.matches('.').count() == 2 && word.len() > 40;
    known || (aws(word) && is_token(word)) || jwt || is_random(word)
}

fn is_token(text: &str) -> bool {
    text.bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// 40 and more characters of base64 that use most of the alphabet; no hex digests, no paths.
fn is_random(word: &str) -> bool {
    let base64 = |b: u8| b.is_ascii_alphanumeric() || b"+/=_-".contains(&b);
    let has = |test: fn(&u8) -> bool| word.bytes().any(|b| test(&b));
    word.len() >= 40
        && !word.starts_with('/')
        && word.bytes().all(base64)
        && has(u8::is_ascii_uppercase)
        && has(u8::is_ascii_lowercase)
        && word.bytes().filter(u8::is_ascii_digit).count() >= 4
        && entropy(word) >= 4.5
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
            "",
        ] {
            assert!(!secret_name(name), "{name}");
        }
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
