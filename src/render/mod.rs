//! PURE: items → unit files.
