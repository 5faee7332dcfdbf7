//! The labels of an export.

use crate::exposition::Labels;
use crate::snapshot::ExportId;

/// The labels of an export's series, as text.
pub(super) struct ExportLabels {
    address: String,
    vlan: String,
    bdev: String,
}

impl ExportLabels {
    pub(super) fn of(id: &ExportId) -> Self {
        let vlan = id.vlan.map_or_else(String::new, |vlan| vlan.to_string());
        Self { address: id.address(), vlan, bdev: id.bdev.clone() }
    }

    pub(super) fn all(&self) -> Vec<(&str, &str)> {
        vec![("export", &self.address), ("vlan", &self.vlan), ("bdev", &self.bdev)]
    }

    pub(super) fn with<'a>(&'a self, more: Labels<'a>) -> Vec<(&'a str, &'a str)> {
        [self.all().as_slice(), more].concat()
    }
}
