//! Kinds, items, digests and names.
