//! How answers go through the pipe: any bytes, one line.

/// An answer; the error is for people.
pub type Answer = Result<Vec<u8>, String>;

/// What is no answer.
pub fn malformed() -> Answer {
    Err("malformed".into())
}

/// As the helper writes it.
pub fn field(answer: &Answer) -> String {
    match answer {
        Ok(bytes) => format!("={}", hex(bytes)),
        Err(why) => format!("!{why}"),
    }
}

/// As the agent reads it.
pub fn unfield(field: &str) -> Answer {
    match field.split_at_checked(1) {
        Some(("=", digits)) => unhex(digits).map_or_else(malformed, Ok),
        Some(("!", why)) => Err(why.to_owned()),
        _ => malformed(),
    }
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_and_any_reason_go_through_the_pipe() {
        let bytes: Vec<u8> = (0..=255).collect();
        for answer in [Ok(bytes), Ok(Vec::new()), Err("permission denied".to_owned())] {
            assert_eq!(unfield(&field(&answer)), answer);
        }
        for broken in ["", "=zz", "x"] {
            assert_eq!(unfield(broken), malformed(), "{broken}");
        }
    }
}
