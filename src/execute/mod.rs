//! Runs a plan's steps against the ports, one outcome per step.
