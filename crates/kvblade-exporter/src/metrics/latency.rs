//! Series of how long requests take.

use super::labels::ExportLabels;
use crate::exposition::{Exposition, Kind};
use crate::latency::BOUNDS;
use crate::snapshot::Export;

/// Writes the histograms of the exports that are timed.
pub(super) fn write(out: &mut Exposition, exports: &[(ExportLabels, &Export)]) {
    let mut family = out.family(
        "kvblade_export_request_duration_seconds",
        Kind::Histogram,
        "Time from the arrival of a request to its answer in the target, of exports that are timed.",
    );
    for (labels, export) in exports {
        let Some(latency) = &export.latency else { continue };
        for (operation, histogram) in
            [("read", &latency.reads), ("write", &latency.writes), ("flush", &latency.flushes)]
        {
            let names = BOUNDS.iter().map(|(_, name)| *name);
            family.histogram(
                &labels.with(&[("operation", operation)]),
                names.zip(histogram.cumulative()),
                histogram.count(),
                histogram.sum_seconds(),
            );
        }
    }
}
