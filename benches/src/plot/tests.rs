use super::*;
use crate::sample::Latency;

/// Every contender in every cell, faster with the depth.
fn figures() -> Figures {
    let mut figures = Figures::default();
    let sizes = [512, 4096, 8192].map(|bytes| Size::new(bytes).unwrap());
    let operations = [Operation::Read, Operation::Write, Operation::Mixed];
    for (place, who) in (1_u32..).zip(Contender::ALL) {
        for cell in crate::cell::combinations(&sizes, &operations, &[1, 8, 32, 64, 128]) {
            if !crate::round::wanted(who, cell) {
                continue;
            }
            let iops = 4e6 / f64::from(place * place) * (1.0 - 0.9 / f64::from(cell.depth));
            let time = f64::from(place);
            let percentiles = who != Contender::Bdev;
            let latency_us = Latency {
                mean: time,
                p50: percentiles.then_some(time),
                p99: percentiles.then_some(3.0 * time),
                p99_9: percentiles.then_some(20.0 * time),
                ..Latency::default()
            };
            figures.push(who, cell, Sample { iops, latency_us, ..Sample::default() });
        }
    }
    figures
}

/// The names of an SVG's elements, if every one that is opened is closed in order and every `&` and `<` is markup.
fn elements(svg: &str) -> Vec<&str> {
    let (mut open, mut all) = (Vec::new(), Vec::new());
    let mut rest = svg;
    while let Some((text, tail)) = rest.split_once('<') {
        assert!(text.split('&').skip(1).all(|entity| entity.contains(';')), "a bare & in {text:?}");
        assert!(!text.contains('>') || open.is_empty(), "a bare > in {text:?}");
        let (tag, tail) = tail.split_once('>').expect("a tag without an end");
        rest = tail;
        assert_eq!(tag.matches('"').count() % 2, 0, "an open quotation mark in <{tag}>");
        let name = tag.trim_start_matches('/').split([' ', '/', '\n']).next().unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "</{name}> closes what is not open");
        } else if !tag.starts_with(['?', '!']) {
            all.push(name);
            if !tag.ends_with('/') {
                open.push(name);
            }
        }
    }
    assert!(open.is_empty(), "{open:?} are not closed");
    all
}

#[test]
fn every_plot_is_written_and_well_formed() {
    let directory = tempfile::tempdir().unwrap();
    let written = write_all(directory.path(), &figures()).unwrap();
    let names: Vec<_> = written.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["iops-512.svg", "iops-4096.svg", "iops-8192.svg", "latency.svg", "limits.svg"]);
    for path in &written {
        let svg = fs::read_to_string(path).unwrap();
        let elements = elements(&svg);
        assert_eq!(elements[0], "svg");
        assert!(elements.len() > 20, "{}: {elements:?}", path.display());
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{}", path.display());
        if let Some(keep) = std::env::var_os("KEEP_PLOTS") {
            fs::copy(path, Path::new(&keep).join(path.file_name().unwrap())).unwrap();
        }
    }
    let rates = fs::read_to_string(&written[0]).unwrap();
    assert!(Contender::ALL.iter().all(|who| rates.contains(who.label())), "a legend for each contender");
    let limits = fs::read_to_string(&written[4]).unwrap();
    assert!(limits.contains("serial limit") && limits.contains(" %"), "{limits}");
}

#[test]
fn nothing_measured_is_nothing_drawn() {
    let directory = tempfile::tempdir().unwrap();
    assert!(write_all(directory.path(), &Figures::default()).unwrap().is_empty());
}
