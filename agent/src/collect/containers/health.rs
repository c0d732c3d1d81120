//! A container's health check, as far as it is not its image's.

use bollard::models::HealthConfig;
use safetytwin_crds::item::Text;
use safetytwin_crds::item::container::HealthCheck;

use crate::redact::Tally;

/// The check, redacted.
pub fn check(
    own: Option<&HealthConfig>,
    images: Option<&HealthConfig>,
    clean: &mut Tally<'_>,
) -> Option<HealthCheck> {
    let own = own.filter(|own| Some(*own) != images)?;
    let whole = own.test.as_deref()?;
    let (kind, words) = whole.split_first()?;
    let test = match kind.as_str() {
        "CMD-SHELL" => {
            let lines = words.iter().map(|line| Text::from(clean.text(line).as_str()));
            std::iter::once(Text::from(kind.as_str())).chain(lines).collect()
        }
        // What a word hides depends on the program, which comes first.
        "CMD" => [vec![Text::from(kind.as_str())], clean.words(words)].concat(),
        _ => clean.words(whole),
    };
    let milliseconds = |nanoseconds: Option<i64>| nanoseconds.unwrap_or(0).max(0) / 1_000_000;
    Some(HealthCheck {
        test,
        interval_ms: milliseconds(own.interval),
        timeout_ms: milliseconds(own.timeout),
        start_period_ms: milliseconds(own.start_period),
        retries: own.retries.unwrap_or(0).max(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redact::Redactor;

    fn config(text: &str) -> HealthConfig {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_check_of_the_images_is_left_out_and_an_own_one_is_redacted() {
        let images = config(r#"{"Test":["CMD","true"]}"#);
        let redactor = Redactor::default();
        let mut clean = redactor.tally();
        assert_eq!(check(Some(&images), Some(&images), &mut clean), None);
        assert_eq!(check(None, Some(&images), &mut clean), None);
        let own = config(r#"{"Test":["CMD","curl","--token","S3cr3t"],"Interval":5000000000,"Retries":2}"#);
        let found = check(Some(&own), Some(&images), &mut clean).unwrap();
        assert_eq!((found.interval_ms, found.retries, clean.count), (5000, 2, 1));
        assert_eq!(found.test[..3], ["CMD", "curl", "--token"].map(Text::from));
        assert!(!format!("{found:?}").contains("S3cr3t"));
    }
}
