//! A container's health check, as far as it is not its image's.

use bollard::models::HealthConfig;
use safetytwin_crds::item::Text;
use safetytwin_crds::item::container::HealthCheck;

use crate::redact;

/// The check and how many of its words were redacted.
pub fn check(own: Option<&HealthConfig>, images: Option<&HealthConfig>) -> (Option<HealthCheck>, u32) {
    let Some(own) = own.filter(|own| Some(*own) != images) else {
        return (None, 0);
    };
    let Some((kind, words)) = own.test.as_deref().and_then(<[String]>::split_first) else {
        return (None, 0);
    };
    let (mut test, mut redactions) = (Vec::new(), 0);
    if kind == "CMD-SHELL" {
        test.push(Text::from(kind.as_str()));
        for line in words {
            let line = redact::text(line);
            redactions += line.count;
            test.push(Text::from(line.text.as_str()));
        }
    } else {
        // What a word hides depends on the program, which comes first.
        let program = usize::from(kind == "CMD");
        test.extend((program == 1).then(|| Text::from(kind.as_str())));
        let words = own.test.iter().flatten().skip(program);
        let bytes: Vec<Vec<u8>> = words.map(|word| word.clone().into_bytes()).collect();
        let (texts, count) = redact::argv(&bytes);
        redactions += count;
        test.extend(texts);
    }
    let milliseconds = |nanoseconds: Option<i64>| nanoseconds.unwrap_or(0).max(0) / 1_000_000;
    let check = HealthCheck {
        test,
        interval_ms: milliseconds(own.interval),
        timeout_ms: milliseconds(own.timeout),
        start_period_ms: milliseconds(own.start_period),
        retries: own.retries.unwrap_or(0).max(0),
    };
    (Some(check), redactions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> HealthConfig {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_check_of_the_images_is_left_out_and_an_own_one_is_redacted() {
        let images = config(r#"{"Test":["CMD","true"]}"#);
        assert_eq!(check(Some(&images), Some(&images)), (None, 0));
        assert_eq!(check(None, Some(&images)), (None, 0));
        let own = config(r#"{"Test":["CMD","curl","--token","S3cr3t"],"Interval":5000000000,"Retries":2}"#);
        let (found, redactions) = check(Some(&own), Some(&images));
        let found = found.unwrap();
        assert_eq!((found.interval_ms, found.retries, redactions), (5000, 2, 1));
        assert_eq!(found.test[..3], ["CMD", "curl", "--token"].map(Text::from));
        assert!(!format!("{found:?}").contains("S3cr3t"));
    }
}
