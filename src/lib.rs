//! The controller and its command line.
