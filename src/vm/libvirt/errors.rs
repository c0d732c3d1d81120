//! libvirt's errors, as [`VmError`]s.

use virt::error::{Error, ErrorDomain, ErrorNumber};

use super::super::VmError;

/// Where an error happened.
pub(super) struct Place<'a> {
    pub(super) uri: &'a str,
    pub(super) pool: &'a str,
}

impl Place<'_> {
    /// What `error` means for the controller. `call` completes "failed to ...".
    pub(super) fn error(&self, call: &'static str, error: &Error) -> VmError {
        let message = printable(error.message());
        // strerror(3) texts: libvirt has no code of its own for a full disk.
        if ["No space left on device", "Disk quota exceeded"]
            .iter()
            .any(|full| message.contains(full))
        {
            return VmError::NoSpace {
                pool: self.pool.to_owned(),
                message,
            };
        }
        if matches!(error.domain(), ErrorDomain::Rpc | ErrorDomain::Remote) || broken(error.code()) {
            return VmError::Unreachable {
                uri: self.uri.to_owned(),
                message,
            };
        }
        VmError::Failed { call, message }
    }
}

/// Codes that the client library gives when there is no usable connection.
fn broken(code: ErrorNumber) -> bool {
    matches!(
        code,
        ErrorNumber::NoConnect
            | ErrorNumber::InvalidConn
            | ErrorNumber::AuthFailed
            | ErrorNumber::AuthCancelled
            | ErrorNumber::AuthUnavailable
    )
}

/// `None` instead of the error that says that there is none.
pub(super) fn optional<T>(result: Result<T, Error>, none: ErrorNumber) -> Result<Option<T>, Error> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.code() == none => Ok(None),
        Err(error) => Err(error),
    }
}

/// Bounded, and without control characters: messages carry paths and names that others chose.
pub(super) fn printable(message: &str) -> String {
    let clean = message.chars().map(|c| if c.is_control() { ' ' } else { c });
    clean.take(512).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_stay_on_one_line_and_short() {
        assert_eq!(printable("a\nb\u{1b}[31m"), "a b [31m");
        assert_eq!(printable(&"x".repeat(9999)).len(), 512);
    }
}
