//! The lab: a real control plane, a real node, a real hypervisor and real twins on one machine.
//!
//! Used by the end-to-end tests, the demo and the `lab` binary alike. `prepare` installs and builds what is
//! slow (cached); [`lab::Lab`] starts it inside namespaces of its own, so that nothing reaches a network and
//! an administrator's libvirt is never touched.

pub mod api_server;
pub mod bench;
pub mod cache;
pub mod command;
pub mod demo;
pub mod images;
pub mod lab;
pub mod meminfo;
pub mod prepare;
pub mod product;
pub mod progress;
pub mod wait;
