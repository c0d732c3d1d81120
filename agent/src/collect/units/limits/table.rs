//! Which properties are limits, how each is written in a file, and what it is when nothing sets it.

use Unset::{Is, Managers};

use crate::collect::units::quantity::INFINITY;

/// How a setting is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Bytes, to base 1024.
    Bytes,
    /// A number.
    Number,
    /// A number, or `idle` for 0.
    Weight,
    /// A share of a CPU; the property is microseconds per second.
    Quota,
    /// Microseconds from a span whose plain numbers are seconds.
    Seconds,
    Flag,
    Word,
    Words,
    Cpus,
    /// `device number`, a list; numbers to base 1000.
    PerDevice,
    /// `device span`, a list.
    PerDeviceTime,
    /// `device rwm`, a list.
    Access,
    /// A share of all, of 32 bits.
    Share,
    /// A number that another setting changes too: see [`super::scheduling`].
    Ordered,
    /// One of these words, which the property counts from 0; `n/a` for -1.
    Called(&'static [&'static str]),
    /// `soft:hard` of the other forms; the properties are the name and the name with `Soft`.
    BytesLimit,
    NumberLimit,
    SecondsLimit,
    MicrosecondsLimit,
    NiceLimit,
}

/// What a property is when nothing sets it.
#[derive(Clone, Copy, Debug)]
pub enum Unset {
    Is(&'static str),
    /// The manager's property of the name `Default…`.
    Managers,
}

/// Policies of sched(7) by their number.
pub const POLICIES: &[&str] = &["other", "fifo", "rr", "batch", "", "idle", "", "ext"];
/// Classes of ioprio_set(2) by their number.
pub const IO_CLASSES: &[&str] = &["none", "realtime", "best-effort", "idle"];
/// Modes of set_mempolicy(2) by their number.
const NUMA_POLICIES: &[&str] = &["default", "preferred", "bind", "interleave", "local"];

/// Property, setting in the file, form, default.
pub type Row = (&'static str, &'static str, Form, Unset);

#[rustfmt::skip]
pub const TABLE: [Row; 75] = [
    ("LimitCPU", "LimitCPU", Form::SecondsLimit, Managers),
    ("LimitFSIZE", "LimitFSIZE", Form::BytesLimit, Managers),
    ("LimitDATA", "LimitDATA", Form::BytesLimit, Managers),
    ("LimitSTACK", "LimitSTACK", Form::BytesLimit, Managers),
    ("LimitCORE", "LimitCORE", Form::BytesLimit, Managers),
    ("LimitRSS", "LimitRSS", Form::BytesLimit, Managers),
    ("LimitNOFILE", "LimitNOFILE", Form::NumberLimit, Managers),
    ("LimitAS", "LimitAS", Form::BytesLimit, Managers),
    ("LimitNPROC", "LimitNPROC", Form::NumberLimit, Managers),
    ("LimitMEMLOCK", "LimitMEMLOCK", Form::BytesLimit, Managers),
    ("LimitLOCKS", "LimitLOCKS", Form::NumberLimit, Managers),
    ("LimitSIGPENDING", "LimitSIGPENDING", Form::NumberLimit, Managers),
    ("LimitMSGQUEUE", "LimitMSGQUEUE", Form::BytesLimit, Managers),
    ("LimitNICE", "LimitNICE", Form::NiceLimit, Managers),
    ("LimitRTPRIO", "LimitRTPRIO", Form::NumberLimit, Managers),
    ("LimitRTTIME", "LimitRTTIME", Form::MicrosecondsLimit, Managers),
    ("CPUAccounting", "CPUAccounting", Form::Flag, Managers),
    ("CPUWeight", "CPUWeight", Form::Weight, Is(INFINITY)),
    ("StartupCPUWeight", "StartupCPUWeight", Form::Weight, Is(INFINITY)),
    ("CPUShares", "CPUShares", Form::Number, Is(INFINITY)),
    ("StartupCPUShares", "StartupCPUShares", Form::Number, Is(INFINITY)),
    ("CPUQuotaPerSecUSec", "CPUQuota", Form::Quota, Is(INFINITY)),
    ("CPUQuotaPeriodUSec", "CPUQuotaPeriodSec", Form::Seconds, Is(INFINITY)),
    ("AllowedCPUs", "AllowedCPUs", Form::Cpus, Is("")),
    ("StartupAllowedCPUs", "StartupAllowedCPUs", Form::Cpus, Is("")),
    ("AllowedMemoryNodes", "AllowedMemoryNodes", Form::Cpus, Is("")),
    ("StartupAllowedMemoryNodes", "StartupAllowedMemoryNodes", Form::Cpus, Is("")),
    ("MemoryAccounting", "MemoryAccounting", Form::Flag, Managers),
    ("MemoryMin", "MemoryMin", Form::Bytes, Is("0")),
    ("DefaultMemoryMin", "DefaultMemoryMin", Form::Bytes, Is("0")),
    ("MemoryLow", "MemoryLow", Form::Bytes, Is("0")),
    ("StartupMemoryLow", "StartupMemoryLow", Form::Bytes, Is("0")),
    ("DefaultMemoryLow", "DefaultMemoryLow", Form::Bytes, Is("0")),
    ("DefaultStartupMemoryLow", "DefaultStartupMemoryLow", Form::Bytes, Is("0")),
    ("MemoryHigh", "MemoryHigh", Form::Bytes, Is(INFINITY)),
    ("StartupMemoryHigh", "StartupMemoryHigh", Form::Bytes, Is(INFINITY)),
    ("MemoryMax", "MemoryMax", Form::Bytes, Is(INFINITY)),
    ("StartupMemoryMax", "StartupMemoryMax", Form::Bytes, Is(INFINITY)),
    ("MemorySwapMax", "MemorySwapMax", Form::Bytes, Is(INFINITY)),
    ("StartupMemorySwapMax", "StartupMemorySwapMax", Form::Bytes, Is(INFINITY)),
    ("MemoryZSwapMax", "MemoryZSwapMax", Form::Bytes, Is(INFINITY)),
    ("StartupMemoryZSwapMax", "StartupMemoryZSwapMax", Form::Bytes, Is(INFINITY)),
    ("MemoryZSwapWriteback", "MemoryZSwapWriteback", Form::Flag, Is("yes")),
    ("MemoryLimit", "MemoryLimit", Form::Bytes, Is(INFINITY)),
    ("TasksAccounting", "TasksAccounting", Form::Flag, Managers),
    ("TasksMax", "TasksMax", Form::Number, Managers),
    ("IOAccounting", "IOAccounting", Form::Flag, Is("no")),
    ("IOWeight", "IOWeight", Form::Number, Is(INFINITY)),
    ("StartupIOWeight", "StartupIOWeight", Form::Number, Is(INFINITY)),
    ("IODeviceWeight", "IODeviceWeight", Form::PerDevice, Is("")),
    ("IOReadBandwidthMax", "IOReadBandwidthMax", Form::PerDevice, Is("")),
    ("IOWriteBandwidthMax", "IOWriteBandwidthMax", Form::PerDevice, Is("")),
    ("IOReadIOPSMax", "IOReadIOPSMax", Form::PerDevice, Is("")),
    ("IOWriteIOPSMax", "IOWriteIOPSMax", Form::PerDevice, Is("")),
    ("IODeviceLatencyTargetUSec", "IODeviceLatencyTargetSec", Form::PerDeviceTime, Is("")),
    ("IPAccounting", "IPAccounting", Form::Flag, Is("no")),
    ("DevicePolicy", "DevicePolicy", Form::Word, Is("auto")),
    ("DeviceAllow", "DeviceAllow", Form::Access, Is("")),
    ("DisableControllers", "DisableControllers", Form::Words, Is("")),
    ("ManagedOOMSwap", "ManagedOOMSwap", Form::Word, Is("auto")),
    ("ManagedOOMMemoryPressure", "ManagedOOMMemoryPressure", Form::Word, Is("auto")),
    ("ManagedOOMMemoryPressureLimit", "ManagedOOMMemoryPressureLimit", Form::Share, Is("0.00%")),
    ("ManagedOOMPreference", "ManagedOOMPreference", Form::Word, Is("none")),
    ("Nice", "Nice", Form::Number, Is("0")),
    ("CPUSchedulingPolicy", "CPUSchedulingPolicy", Form::Ordered, Is("0")),
    ("CPUSchedulingPriority", "CPUSchedulingPriority", Form::Ordered, Is("0")),
    ("CPUSchedulingResetOnFork", "CPUSchedulingResetOnFork", Form::Flag, Is("no")),
    ("CPUAffinity", "CPUAffinity", Form::Cpus, Is("")),
    ("NUMAPolicy", "NUMAPolicy", Form::Called(NUMA_POLICIES), Is("n/a")),
    ("NUMAMask", "NUMAMask", Form::Cpus, Is("")),
    ("IOSchedulingClass", "IOSchedulingClass", Form::Ordered, Is("2")),
    ("IOSchedulingPriority", "IOSchedulingPriority", Form::Ordered, Is("4")),
    ("OOMScoreAdjust", "OOMScoreAdjust", Form::Number, Managers),
    ("RuntimeMaxUSec", "RuntimeMaxSec", Form::Seconds, Is(INFINITY)),
    ("RuntimeRandomizedExtraUSec", "RuntimeRandomizedExtraSec", Form::Seconds, Is("0")),
];
