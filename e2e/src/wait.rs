//! Waits for conditions on real parts: each wait has a deadline and says at its end what was missing.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// What one look at a condition found.
#[derive(Debug)]
pub enum Look<T> {
    /// The condition holds.
    Ready(T),
    /// Not yet, and what was seen instead.
    NotYet(String),
}

/// Looks every 200 ms until the condition holds.
///
/// # Errors
/// After `limit`, with `what` and what the last look saw. An error of a look counts as "not yet": real parts
/// refuse connections while they start.
pub fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<Look<T>>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        let seen = match look() {
            Ok(Look::Ready(value)) => return Ok(value),
            Ok(Look::NotYet(seen)) => seen,
            Err(error) => format!("{error:#}"),
        };
        if Instant::now() >= deadline {
            bail!("waited {} s for {what}; last seen: {seen}", limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// [`until`] for a plain yes or no.
pub fn until_true(what: &str, limit: Duration, mut look: impl FnMut() -> Result<bool>) -> Result<()> {
    until(what, limit, || {
        Ok(if look()? {
            Look::Ready(())
        } else {
            Look::NotYet("it does not hold".into())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_that_ends_in_vain_says_for_what_and_what_was_seen() {
        let look = || Ok(Look::<()>::NotYet("two of three".into()));
        let error = until("three units", Duration::ZERO, look)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("three units") && error.contains("two of three"),
            "{error}"
        );
    }

    #[test]
    fn errors_of_a_look_are_looked_past() {
        let mut looks = 0;
        let found = until("the third look", Duration::from_secs(20), || {
            looks += 1;
            if looks < 3 {
                bail!("connection refused")
            } else {
                Ok(Look::Ready(looks))
            }
        });
        assert_eq!(found.unwrap(), 3);
    }
}
