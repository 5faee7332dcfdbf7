//! The exporter as Prometheus and browsers see it: before a fake target, and before a real one that serves a load.
//!
//! All of it happens in network namespaces of the tests, which take root.

mod access;
mod browser;
mod changes;
mod exporter;
mod fake_target;
mod http;
mod page;
mod prometheus;
mod scrapes;
