//! Sizes and times as specs write them: `10Gi`, `2s`. The grammar is the schema's.

/// Bytes of `<number>[Ki|Mi|Gi|Ti]`; `None` for everything else, also for more than 2^64.
pub fn bytes(text: &str) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(split)?;
    let power = match unit {
        "" => 0,
        "Ki" => 1,
        "Mi" => 2,
        "Gi" => 3,
        "Ti" => 4,
        _ => return None,
    };
    number
        .parse::<u64>()
        .ok()?
        .checked_mul(1024_u64.checked_pow(power)?)
}

/// Milliseconds of `<number>(ms|s|m|h)`; `None` for everything else.
pub fn milliseconds(text: &str) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(split)?;
    let factor = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_read_as_the_schema_allows_them_and_nothing_else_is() {
        assert_eq!(bytes("10Gi"), Some(10 << 30));
        assert_eq!(bytes("512"), Some(512));
        assert_eq!(milliseconds("2s"), Some(2000));
        assert_eq!(milliseconds("500ms"), Some(500));
        for text in ["", "Gi", "1G", "-1", "1.5Gi", "99999999999Ti", "\u{660}Ki"] {
            assert_eq!(bytes(text), None, "{text}");
        }
        for text in ["", "s", "1", "1d", "-1s"] {
            assert_eq!(milliseconds(text), None, "{text}");
        }
    }
}
