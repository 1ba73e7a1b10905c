//! Prometheus' text format, read strictly: <https://prometheus.io/docs/instrumenting/exposition_formats/>

use std::collections::{BTreeMap, BTreeSet};

/// What `/metrics` answered.
#[derive(Debug)]
pub struct Exposition {
    families: BTreeMap<String, Family>,
}

#[derive(Debug)]
struct Family {
    kind: String,
    samples: Vec<Sample>,
}

/// One line that is not a comment.
#[derive(Debug, Clone)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Exposition {
    /// Reads it; fails on anything that is not as it should be.
    #[track_caller]
    pub fn parse(text: &str) -> Exposition {
        assert!(text.ends_with('\n'), "the last line is whole");
        let mut families: BTreeMap<String, Family> = BTreeMap::new();
        let mut current: Option<String> = None;
        let mut helped: Option<String> = None;
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("a help text");
                assert!(!help.is_empty() && helped.is_none(), "{line}");
                helped = Some(name.to_owned());
                current = None;
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a type");
                assert_eq!(helped.take().as_deref(), Some(name), "HELP comes before");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                let family = Family {
                    kind: kind.to_owned(),
                    samples: Vec::new(),
                };
                let before = families.insert(name.to_owned(), family);
                assert!(before.is_none(), "{name} is there twice");
                current = Some(name.to_owned());
            } else {
                let sample = parse_sample(line);
                let name = current
                    .as_ref()
                    .unwrap_or_else(|| panic!("a type before {line}"));
                let family = families.get_mut(name).expect("it has begun");
                assert!(family.takes(name, &sample), "{line} is not of {name}");
                family.samples.push(sample);
            }
        }
        assert!(helped.is_none(), "a family without a type");
        for (name, family) in &families {
            family.check(name);
        }
        Exposition { families }
    }

    /// The names of all families.
    pub fn names(&self) -> BTreeSet<&str> {
        self.families.keys().map(String::as_str).collect()
    }

    /// The names of all series, those that a histogram consists of included.
    pub fn series_names(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for (name, family) in &self.families {
            match family.kind.as_str() {
                "histogram" => names
                    .extend(["_bucket", "_sum", "_count"].map(|suffix| format!("{name}{suffix}"))),
                _ => drop(names.insert(name.clone())),
            }
        }
        names
    }

    /// The sum of the samples of this name that have these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |sample: &&Sample| {
            sample.name == name
                && labels
                    .iter()
                    .all(|(label, value)| sample.labels.get(*label).is_some_and(|is| is == value))
        };
        let samples = self.families.values().flat_map(|family| &family.samples);
        samples.filter(has).map(|sample| sample.value).sum()
    }

    /// The values of a label.
    pub fn values_of(&self, name: &str, label: &str) -> BTreeSet<String> {
        let samples = self.families.values().flat_map(|family| &family.samples);
        let named = samples.filter(|sample| sample.name == name);
        named
            .filter_map(|sample| sample.labels.get(label).cloned())
            .collect()
    }
}

impl Family {
    fn takes(&self, name: &str, sample: &Sample) -> bool {
        match self.kind.as_str() {
            "histogram" => match sample.name.strip_prefix(name) {
                Some("_bucket") => sample.labels.contains_key("le"),
                Some("_sum" | "_count") => !sample.labels.contains_key("le"),
                _ => false,
            },
            _ => sample.name == name,
        }
    }

    fn check(&self, name: &str) {
        let mut seen = BTreeSet::new();
        for sample in &self.samples {
            let series = (&sample.name, &sample.labels);
            assert!(seen.insert(series), "{series:?} is there twice");
            assert!(
                sample.value.is_finite() && sample.value >= 0.0,
                "{sample:?}"
            );
        }
        match self.kind.as_str() {
            "counter" => assert!(name.ends_with("_total"), "{name} is a counter"),
            "gauge" => assert!(!name.ends_with("_total"), "{name} is a gauge"),
            _ => self.check_histogram(name),
        }
    }

    fn check_histogram(&self, name: &str) {
        let mut by_labels: BTreeMap<BTreeMap<String, String>, Vec<&Sample>> = BTreeMap::new();
        for sample in &self.samples {
            let mut labels = sample.labels.clone();
            labels.remove("le");
            by_labels.entry(labels).or_default().push(sample);
        }
        for (labels, samples) in by_labels {
            let of = |suffix: &str| {
                let full = format!("{name}{suffix}");
                let found: Vec<_> = samples
                    .iter()
                    .filter(|sample| sample.name == full)
                    .collect();
                found
            };
            let buckets: Vec<(f64, f64)> = of("_bucket")
                .iter()
                .map(|sample| (number(&sample.labels["le"]), sample.value))
                .collect();
            assert!(buckets.len() > 2, "{name} {labels:?}");
            assert!(
                buckets
                    .windows(2)
                    .all(|two| two[0].0 < two[1].0 && two[0].1 <= two[1].1),
                "{name} {labels:?}: {buckets:?}"
            );
            let (counts, sums) = (of("_count"), of("_sum"));
            assert_eq!((counts.len(), sums.len()), (1, 1), "{name} {labels:?}");
            let last = buckets.last().expect("there are some");
            assert_eq!(*last, (f64::INFINITY, counts[0].value), "{name} {labels:?}");
            assert!(
                counts[0].value > 0.0 || sums[0].value == 0.0,
                "{name} {labels:?}"
            );
        }
    }
}

fn number(text: &str) -> f64 {
    match text {
        "+Inf" => f64::INFINITY,
        text => text
            .parse()
            .unwrap_or_else(|_| panic!("not a number: {text}")),
    }
}

fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && chars.all(|char| char.is_ascii_alphanumeric() || char == '_')
}

fn parse_sample(line: &str) -> Sample {
    let end = line
        .find(['{', ' '])
        .unwrap_or_else(|| panic!("not a sample: {line}"));
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "{line}");
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
            assert!(is_name(label), "{line}");
            let mut value = String::new();
            let mut chars = after.char_indices();
            let end = loop {
                match chars.next().unwrap_or_else(|| panic!("{line}")) {
                    (at, '"') => break at,
                    (_, '\\') => match chars.next() {
                        Some((_, 'n')) => value.push('\n'),
                        Some((_, escaped @ ('"' | '\\'))) => value.push(escaped),
                        other => panic!("{line}: {other:?}"),
                    },
                    (_, char) => value.push(char),
                }
            };
            let before = labels.insert(label.to_owned(), value);
            assert!(before.is_none(), "{line}: a label twice");
            match after[end + 1..].split_at(1) {
                (",", more) => rest = more,
                ("}", value) => {
                    rest = value;
                    break;
                }
                _ => panic!("{line}"),
            }
        }
    }
    let value = rest.strip_prefix(' ').unwrap_or_else(|| panic!("{line}"));
    Sample {
        name: name.to_owned(),
        labels,
        value: number(value),
    }
}
