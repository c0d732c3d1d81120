//! Metrics in Prometheus' text format, as etcd, kube-apiserver and node_exporter tell them.

use std::collections::BTreeMap;

/// One line.
#[derive(Debug, Clone, PartialEq)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

/// What one look at a program's metrics gave.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Metrics {
    samples: Vec<Sample>,
}

impl Metrics {
    /// Reads the text format; lines that are none of it are left out.
    pub(super) fn parse(text: &str) -> Self {
        Self {
            samples: text.lines().filter_map(sample).collect(),
        }
    }

    /// Sum of a metric over all its lines that have these labels; none when there is no such line.
    pub(super) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut values = self.with(name, labels).map(|sample| sample.value).peekable();
        values.peek()?;
        Some(values.sum())
    }

    /// How much a counter grew since `earlier`; one that is not there yet counts from zero.
    pub(super) fn grown(&self, earlier: &Self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let of = |metrics: &Self| metrics.sum(name, labels).unwrap_or_default();
        of(self) - of(earlier)
    }

    /// A quantile of what a histogram counted since `earlier`: the upper bound of the bucket that it falls into.
    pub(super) fn quantile(
        &self,
        earlier: &Self,
        name: &str,
        labels: &[(&str, &str)],
        quantile: f64,
    ) -> Option<f64> {
        let name = format!("{name}_bucket");
        let buckets = |metrics: &Self| {
            let mut buckets: BTreeMap<u64, f64> = BTreeMap::new();
            for sample in metrics.with(&name, labels) {
                let bound: f64 = sample.labels.get("le").and_then(|le| le.parse().ok())?;
                // Bounds are positive: their bits are in their order.
                *buckets.entry(bound.to_bits()).or_default() += sample.value;
            }
            Some(buckets)
        };
        let (now, before) = (buckets(self)?, buckets(earlier)?);
        let grown = |(bound, count): (&u64, &f64)| {
            let before = before.get(bound).copied().unwrap_or_default();
            (f64::from_bits(*bound), count - before)
        };
        let grown: Vec<(f64, f64)> = now.iter().map(grown).collect();
        let (_, all) = grown.last().filter(|(_, all)| *all > 0.0)?;
        let found = grown.iter().find(|(_, count)| *count >= all * quantile);
        // Beyond the last bound there is no upper one.
        found.map(|(bound, _)| *bound).filter(|bound| bound.is_finite())
    }

    fn with(&self, name: &str, labels: &[(&str, &str)]) -> impl Iterator<Item = &Sample> {
        let has = move |sample: &&Sample| {
            let mut labels = labels.iter();
            sample.name == name
                && labels.all(|(label, value)| sample.labels.get(*label).is_some_and(|v| v == value))
        };
        self.samples.iter().filter(has)
    }
}

fn sample(line: &str) -> Option<Sample> {
    if line.starts_with('#') {
        return None;
    }
    let (series, value) = line.rsplit_once(' ')?;
    let (name, rest) = series.split_once('{').unwrap_or((series, ""));
    Some(Sample {
        name: name.to_owned(),
        labels: labels(rest.strip_suffix('}').unwrap_or_default()),
        value: value.parse().ok()?,
    })
}

/// `name="value",…`; a value has no quote in it in what is read here.
fn labels(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split("\",").filter_map(|pair| {
        let (name, value) = pair.split_once("=\"")?;
        Some((name.to_owned(), value.trim_end_matches('"').to_owned()))
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "# TYPE requests counter\n\
        requests{verb=\"APPLY\",resource=\"hoststates\",code=\"200\"} 10\n\
        took_bucket{verb=\"APPLY\",le=\"0.1\"} 5\n\
        took_bucket{verb=\"APPLY\",le=\"0.5\"} 9\n\
        took_bucket{verb=\"APPLY\",le=\"+Inf\"} 10\n\
        size_bytes 4.096e+06\n";
    const NOW: &str = "requests{verb=\"APPLY\",resource=\"hoststates\",code=\"200\"} 25\n\
        requests{verb=\"APPLY\",resource=\"hoststates\",code=\"429\"} 1\n\
        requests{verb=\"GET\",resource=\"nodes\",code=\"200\"} 7\n\
        took_bucket{verb=\"APPLY\",le=\"0.1\"} 103\n\
        took_bucket{verb=\"APPLY\",le=\"0.5\"} 109\n\
        took_bucket{verb=\"APPLY\",le=\"+Inf\"} 110\n";

    #[test]
    fn a_counter_grows_by_what_all_its_lines_grew() {
        let (before, now) = (Metrics::parse(BEFORE), Metrics::parse(NOW));
        let labels = [("verb", "APPLY"), ("resource", "hoststates")];
        assert!((now.grown(&before, "requests", &labels) - 16.0).abs() < 1e-9);
        assert_eq!(before.sum("size_bytes", &[]), Some(4_096_000.0));
        assert_eq!(now.sum("size_bytes", &[]), None);
    }

    #[test]
    fn a_quantile_counts_only_what_came_since() {
        let (before, now) = (Metrics::parse(BEFORE), Metrics::parse(NOW));
        let at = |quantile| now.quantile(&before, "took", &[("verb", "APPLY")], quantile);
        assert_eq!((at(0.5), at(0.99)), (Some(0.1), Some(0.5)));
        assert_eq!(now.quantile(&now, "took", &[], 0.5), None);
    }
}
