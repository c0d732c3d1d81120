//! Names that go to a hypervisor. Checked before any call, in every backend.

use super::VmError;

/// A domain name: `[a-z0-9-]{1,63}`, so that `<name>.` is a prefix of the files of this VM only.
///
/// # Errors
/// [`VmError::Refused`] for any other name.
pub fn check_vm_name(name: &str) -> Result<(), VmError> {
    check("domain", name)
}

/// A point name: `[a-z0-9-]{1,63}`.
///
/// # Errors
/// [`VmError::Refused`] for any other name.
pub fn check_point_name(name: &str) -> Result<(), VmError> {
    check("point", name)
}

fn check(what: &'static str, name: &str) -> Result<(), VmError> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if (1..=63).contains(&name.len()) && name.chars().all(allowed) {
        return Ok(());
    }
    Err(VmError::Refused {
        what,
        name: name.chars().take(80).collect(),
        why: "a name is 1 to 63 of a-z, 0-9 and -".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_the_pool_are_refused() {
        for name in ["", "../x", "a/b", "A", "a.b", "a b", "a\0", &"x".repeat(64)] {
            assert!(check_point_name(name).is_err(), "{name:?}");
        }
        assert!(check_point_name("web-01-r0016-9c1e").is_ok());
    }
}
