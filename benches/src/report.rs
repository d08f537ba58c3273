//! What was measured, as a table for people and as JSON for programs.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Map, Value, json};

/// Who did the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    Teu,
    Docker,
    Runc,
    Crun,
    Floor,
}

impl Contender {
    const ALL: [Self; 5] = [Self::Teu, Self::Docker, Self::Runc, Self::Crun, Self::Floor];

    /// Its name in the tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Teu => "teu",
            Self::Docker => "Docker",
            Self::Runc => "runc",
            Self::Crun => "crun",
            Self::Floor => "floor",
        }
    }
}

/// What a number counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Milliseconds,
    Kibibytes,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Milliseconds => "ms",
            Self::Kibibytes => "KiB",
        }
    }

    fn written(self, value: f64) -> String {
        match self {
            Self::Milliseconds if value >= 1000.0 => format!("{:.2} s", value / 1000.0),
            Self::Milliseconds if value >= 100.0 => format!("{value:.0} ms"),
            Self::Milliseconds => format!("{value:.2} ms"),
            Self::Kibibytes => format!("{:.1} MiB", value / 1024.0),
        }
    }
}

/// One contender at one work.
struct Series {
    work: String,
    contender: Contender,
    unit: Unit,
    samples: Vec<f64>,
}

impl Series {
    /// The sample below which that share of all samples lies.
    fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }
}

/// A mark that was set, and what the run says about it.
struct Mark {
    text: String,
    met: Option<bool>,
    value: String,
}

/// Everything that one run found out.
#[derive(Default)]
pub(crate) struct Report {
    series: Vec<Series>,
    marks: Vec<Mark>,
    /// The machine, and the contenders' versions.
    pub(crate) facts: Vec<(String, String)>,
    /// What could not be measured, and why.
    pub(crate) missing: Vec<String>,
}

impl Report {
    /// Adds a time.
    pub(crate) fn time(&mut self, work: &str, contender: Contender, took: Duration) {
        self.add(work, contender, Unit::Milliseconds, took.as_secs_f64() * 1000.0);
    }

    /// Adds an amount of memory, in KiB.
    pub(crate) fn memory(&mut self, work: &str, contender: Contender, kibibytes: u64) {
        self.add(work, contender, Unit::Kibibytes, kibibytes as f64);
    }

    fn add(&mut self, work: &str, contender: Contender, unit: Unit, value: f64) {
        match self.series.iter_mut().find(|series| series.work == work && series.contender == contender) {
            Some(series) => series.samples.push(value),
            None => self.series.push(Series { work: work.into(), contender, unit, samples: vec![value] }),
        }
    }

    fn of(&self, work: &str, contender: Contender) -> Option<&Series> {
        self.series.iter().find(|series| series.work == work && series.contender == contender)
    }

    fn median(&self, work: &str, contender: Contender) -> Option<f64> {
        self.of(work, contender).map(|series| series.quantile(0.5))
    }

    fn ratio(&self, work: &str, above: Contender, below: Contender) -> Option<f64> {
        Some(self.median(work, above)? / self.median(work, below)?)
    }

    /// Sets a mark: at most so many times the other contender's median.
    pub(crate) fn mark_at_most(&mut self, work: &str, times: f64, other: Contender) {
        let ratio = self.ratio(work, Contender::Teu, other);
        let text = format!("{work}: at most {times} × {}", other.name());
        self.mark(text, ratio.map(|ratio| ratio <= times), ratio.map(|ratio| format!("{ratio:.2} ×")));
    }

    /// Sets a mark: so many times faster than the other contender.
    pub(crate) fn mark_faster(&mut self, work: &str, times: f64, other: Contender) {
        let ratio = self.ratio(work, other, Contender::Teu);
        let text = format!("{work}: at least {times} × faster than {}", other.name());
        self.mark(text, ratio.map(|ratio| ratio >= times), ratio.map(|ratio| format!("{ratio:.1} ×")));
    }

    /// Sets a mark: the slowest of a hundred takes at most so many times the median.
    pub(crate) fn mark_even(&mut self, work: &str, times: f64) {
        let ratio = self.of(work, Contender::Teu).map(|series| series.quantile(0.99) / series.quantile(0.5));
        let text = format!("{work}: 99th percentile at most {times} × its median");
        self.mark(text, ratio.map(|ratio| ratio <= times), ratio.map(|ratio| format!("{ratio:.2} ×")));
    }

    /// Sets a mark: one work takes at most so many times another one of the same contender.
    pub(crate) fn mark_flat(&mut self, work: &str, times: f64, other: &str) {
        let ratio = self.median(work, Contender::Teu).zip(self.median(other, Contender::Teu));
        let ratio = ratio.map(|(one, other)| one / other);
        let text = format!("{work}: at most {times} × {other}");
        self.mark(text, ratio.map(|ratio| ratio <= times), ratio.map(|ratio| format!("{ratio:.2} ×")));
    }

    /// Sets a mark: less memory than so many KiB.
    pub(crate) fn mark_below(&mut self, work: &str, kibibytes: f64) {
        let value = self.median(work, Contender::Teu);
        let text = format!("{work}: under {}", Unit::Kibibytes.written(kibibytes));
        self.mark(text, value.map(|value| value < kibibytes), value.map(|value| Unit::Kibibytes.written(value)));
    }

    fn mark(&mut self, text: String, met: Option<bool>, value: Option<String>) {
        self.marks.push(Mark { text, met, value: value.unwrap_or_else(|| "not measured".into()) });
    }

    /// The kinds of work, in the order of their first measurement.
    fn works(&self) -> Vec<&str> {
        let mut works: Vec<&str> = Vec::new();
        for series in &self.series {
            if !works.contains(&series.work.as_str()) {
                works.push(&series.work);
            }
        }
        works
    }

    /// The report as a Markdown page.
    pub(crate) fn markdown(&self) -> String {
        let mut page = "# teu side by side\n\nMedian, and in brackets the 99th percentile, of runs that took turns. \
                        Absolute numbers do not travel between machines; ratios do.\n\n"
            .to_owned();
        for (name, value) in &self.facts {
            let _ = writeln!(page, "- {name}: {value}");
        }
        for what in &self.missing {
            let _ = writeln!(page, "- **NOT MEASURED**: {what}");
        }
        page += "\n| Work | runs | teu | Docker | runc | crun | floor | Docker ÷ teu | teu ÷ floor |\n|---|---|---|---|---|---|---|---|---|\n";
        for work in self.works() {
            let runs = self.of(work, Contender::Teu).map_or(0, |series| series.samples.len());
            let cells = Contender::ALL.map(|contender| self.of(work, contender).map_or("–".into(), cell));
            let ratio =
                |above, below| self.ratio(work, above, below).map_or("–".into(), |ratio| format!("{ratio:.1}"));
            let peer = ratio(Contender::Docker, Contender::Teu);
            let floor = ratio(Contender::Teu, Contender::Floor);
            let _ = writeln!(page, "| {work} | {runs} | {} | {peer} | {floor} |", cells.join(" | "));
        }
        page += "\n| Mark | Measured | |\n|---|---|---|\n";
        for mark in &self.marks {
            let verdict = mark.met.map_or("–", |met| if met { "met" } else { "**missed**" });
            let _ = writeln!(page, "| {} | {} | {verdict} |", mark.text, mark.value);
        }
        page
    }

    /// The report as JSON.
    pub(crate) fn json(&self) -> Value {
        let facts: Map<String, Value> = self.facts.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        let series: Vec<Value> = self.series.iter().map(|series| self.series_json(series)).collect();
        let marks: Vec<Value> =
            self.marks.iter().map(|mark| json!({"mark": mark.text, "measured": mark.value, "met": mark.met})).collect();
        json!({"facts": facts, "missing": self.missing, "series": series, "marks": marks})
    }

    fn series_json(&self, series: &Series) -> Value {
        let ratios: Map<String, Value> = Contender::ALL
            .into_iter()
            .filter(|other| *other != series.contender)
            .filter_map(|other| {
                Some((other.name().to_owned(), json!(self.ratio(&series.work, series.contender, other)?)))
            })
            .collect();
        json!({
            "work": series.work, "contender": series.contender.name(), "unit": series.unit.name(),
            "runs": series.samples.len(), "min": series.quantile(0.0), "median": series.quantile(0.5),
            "p99": series.quantile(0.99), "times": ratios, "samples": series.samples,
        })
    }
}

fn cell(series: &Series) -> String {
    let median = series.unit.written(series.quantile(0.5));
    match series.unit {
        Unit::Milliseconds if series.samples.len() > 1 => {
            format!("{median} ({})", series.unit.written(series.quantile(0.99)))
        }
        _ => median,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(samples: &[(Contender, u64)]) -> Report {
        let mut report = Report::default();
        for (contender, milliseconds) in samples {
            report.time("work", *contender, Duration::from_millis(*milliseconds));
        }
        report
    }

    #[test]
    fn the_median_and_the_tail_are_samples() {
        let samples: Vec<_> = (1..=100).rev().map(|value| (Contender::Teu, value)).collect();
        let report = report(&samples);
        let series = report.of("work", Contender::Teu).expect("measured");
        assert_eq!([0.0, 0.5, 0.99, 1.0].map(|share| series.quantile(share)), [1.0, 50.0, 99.0, 100.0]);
    }

    #[test]
    fn a_mark_is_met_missed_or_not_measured() {
        let mut report = report(&[(Contender::Teu, 10), (Contender::Docker, 200)]);
        report.mark_faster("work", 15.0, Contender::Docker);
        report.mark_faster("work", 25.0, Contender::Docker);
        report.mark_at_most("work", 4.0, Contender::Floor);
        assert_eq!(report.marks.iter().map(|mark| mark.met).collect::<Vec<_>>(), [Some(true), Some(false), None]);
        assert!(report.markdown().contains("| work | 1 | 10.00 ms | 200 ms | – | – | – | 20.0 | – |"));
    }
}
