//! Prometheus' text format and OpenMetrics, written by the rules of both.
//!
//! prometheus-client keeps the counters of its own process, and writes OpenMetrics only. Here the counters are the target's, new
//! in each scrape, and older scrapers are answered too.

use std::fmt::{self, Write as _};

/// A format, by the request's `Accept`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Prometheus' own, version 0.0.4.
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The format that is accepted.
    pub(crate) fn accepted(accept: Option<&str>) -> Self {
        let names = accept.is_some_and(|accept| accept.contains("application/openmetrics-text"));
        if names { Self::OpenMetrics } else { Self::Text }
    }

    /// The value of `Content-Type`.
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The kind of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Only grows; its samples end in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Labels only; its samples end in `_info` and are 1.
    Info,
    /// Counts by upper bound; see [`Family::histogram`].
    Histogram,
}

/// A sample's value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Number {
    Whole(u64),
    Real(f64),
}

impl From<u64> for Number {
    fn from(number: u64) -> Self {
        Self::Whole(number)
    }
}

impl From<bool> for Number {
    fn from(truth: bool) -> Self {
        Self::Whole(truth.into())
    }
}

impl From<f64> for Number {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(number) => number.fmt(f),
            Self::Real(number) => number.fmt(f),
        }
    }
}

/// Labels: name and value. One with an empty value is left out, which means the same.
pub(crate) type Labels<'a> = &'a [(&'a str, &'a str)];

/// The text of an answer, written family by family.
#[derive(Debug)]
pub(crate) struct Exposition {
    format: Format,
    text: String,
}

impl Exposition {
    pub(crate) const fn new(format: Format) -> Self {
        Self { format, text: String::new() }
    }

    /// Begins a family, which is complete when the next one begins. Without samples, nothing of it is written.
    pub(crate) fn family<'a>(&'a mut self, name: &'a str, kind: Kind, help: &'a str) -> Family<'a> {
        Family { exposition: self, name, kind, help, begun: false }
    }

    /// The text.
    pub(crate) fn end(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

/// A family of samples that differ in their labels.
#[derive(Debug)]
pub(crate) struct Family<'a> {
    exposition: &'a mut Exposition,
    name: &'a str,
    kind: Kind,
    help: &'a str,
    begun: bool,
}

impl Family<'_> {
    /// Writes a sample.
    pub(crate) fn sample(&mut self, labels: Labels<'_>, value: impl Into<Number>) {
        self.write(self.suffix(), labels, value.into());
    }

    /// Writes the samples of a histogram: the number up to each bound, and of all; `sum` is that of what was measured.
    pub(crate) fn histogram(
        &mut self,
        labels: Labels<'_>,
        buckets: impl IntoIterator<Item = (&'static str, u64)>,
        count: u64,
        sum: f64,
    ) {
        for (bound, number) in buckets.into_iter().chain([("+Inf", count)]) {
            self.write("_bucket", &[labels, &[("le", bound)]].concat(), number.into());
        }
        self.write("_count", labels, count.into());
        self.write("_sum", labels, sum.into());
    }

    fn write(&mut self, suffix: &str, labels: Labels<'_>, value: Number) {
        self.begin();
        let name = self.name;
        let text = &mut self.exposition.text;
        text.push_str(name);
        text.push_str(suffix);
        let mut separator = '{';
        for (name, value) in labels.iter().filter(|(_, value)| !value.is_empty()) {
            text.push(separator);
            text.push_str(name);
            text.push_str("=\"");
            value.chars().for_each(|character| match character {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                other => text.push(other),
            });
            text.push('"');
            separator = ',';
        }
        if separator == ',' {
            text.push('}');
        }
        writeln!(text, " {value}").expect("a String takes any text");
    }

    const fn suffix(&self) -> &'static str {
        match self.kind {
            Kind::Counter => "_total",
            Kind::Gauge | Kind::Histogram => "",
            Kind::Info => "_info",
        }
    }

    fn begin(&mut self) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        // OpenMetrics names the family, Prometheus' text its samples.
        let (suffix, kind) = match (self.exposition.format, self.kind) {
            (Format::OpenMetrics, Kind::Counter) => ("", "counter"),
            (Format::OpenMetrics, Kind::Info) => ("", "info"),
            (Format::Text, Kind::Counter) => (self.suffix(), "counter"),
            (_, Kind::Gauge | Kind::Info) => (self.suffix(), "gauge"),
            (_, Kind::Histogram) => ("", "histogram"),
        };
        let (name, help) = (self.name, self.help);
        writeln!(self.exposition.text, "# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}")
            .expect("a String takes any text");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: Format) -> String {
        let mut exposition = Exposition::new(format);
        let mut counter = exposition.family("a_bytes", Kind::Counter, "Bytes.");
        counter.sample(&[("bdev", "a\"b\\c\nd"), ("vlan", "")], 7);
        counter.sample(&[], u64::MAX);
        exposition.family("empty", Kind::Gauge, "Never seen.");
        exposition.family("g_seconds", Kind::Gauge, "Seconds.").sample(&[("x", "1"), ("y", "2")], 0.25);
        exposition.family("i", Kind::Info, "Info.").sample(&[("version", "1")], true);
        exposition.end()
    }

    #[test]
    fn both_formats_keep_their_rules() {
        assert_eq!(
            written(Format::Text),
            "# HELP a_bytes_total Bytes.\n# TYPE a_bytes_total counter\n\
             a_bytes_total{bdev=\"a\\\"b\\\\c\\nd\"} 7\na_bytes_total 18446744073709551615\n\
             # HELP g_seconds Seconds.\n# TYPE g_seconds gauge\ng_seconds{x=\"1\",y=\"2\"} 0.25\n\
             # HELP i_info Info.\n# TYPE i_info gauge\ni_info{version=\"1\"} 1\n"
        );
        assert_eq!(
            written(Format::OpenMetrics),
            "# HELP a_bytes Bytes.\n# TYPE a_bytes counter\n\
             a_bytes_total{bdev=\"a\\\"b\\\\c\\nd\"} 7\na_bytes_total 18446744073709551615\n\
             # HELP g_seconds Seconds.\n# TYPE g_seconds gauge\ng_seconds{x=\"1\",y=\"2\"} 0.25\n\
             # HELP i Info.\n# TYPE i info\ni_info{version=\"1\"} 1\n# EOF\n"
        );
    }

    #[test]
    fn a_histogram_has_a_bucket_for_all_its_count_and_its_sum() {
        let mut exposition = Exposition::new(Format::OpenMetrics);
        let mut family = exposition.family("t_seconds", Kind::Histogram, "Times.");
        family.histogram(&[("x", "1")], [("0.1", 2), ("1.0", 5)], 7, 3.5);
        assert_eq!(
            exposition.end(),
            "# HELP t_seconds Times.\n# TYPE t_seconds histogram\nt_seconds_bucket{x=\"1\",le=\"0.1\"} 2\n\
             t_seconds_bucket{x=\"1\",le=\"1.0\"} 5\nt_seconds_bucket{x=\"1\",le=\"+Inf\"} 7\n\
             t_seconds_count{x=\"1\"} 7\nt_seconds_sum{x=\"1\"} 3.5\n# EOF\n"
        );
    }

    #[test]
    fn the_format_is_the_one_that_is_accepted() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3";
        assert_eq!(Format::accepted(Some(prometheus)), Format::OpenMetrics);
        assert_eq!(Format::accepted(Some("*/*")), Format::Text);
        assert_eq!(Format::accepted(None), Format::Text);
    }
}
