//! What a finished run found, for the terminal and for machines.

use glassbox_experiment::run::{PilotEstimate, RunOutcome};
use glassbox_experiment::tables::{CheckRow, VerdictRow};
use glassbox_report::ReportSummary;
use serde_json::{Value, json};

use crate::exit_code;
use crate::table::{bytes, count, duration, facts, table};

/// Features that the terminal shows; the others are in the report and the tables.
const SHOWN_FEATURES: usize = 20;

/// A finished run and its report.
#[derive(Debug)]
pub struct RunSummary<'a> {
    /// What the run found.
    pub outcome: &'a RunOutcome,
    /// Where the report lies and what it says.
    pub report: &'a ReportSummary,
}

impl RunSummary<'_> {
    /// 1 if a check with a limit failed, else 0. A pilot has too few trials to be held to its checks.
    pub fn exit_code(&self) -> u8 {
        let failed = self.failed_checks().next().is_some();
        if failed && self.outcome.pilot.is_none() {
            exit_code::CHECK_FAILED
        } else {
            exit_code::DONE
        }
    }

    fn failed_checks(&self) -> impl Iterator<Item = &CheckRow> {
        self.outcome
            .checks
            .iter()
            .filter(|check| check.result == "failed")
    }

    /// The summary in words and a table, at most 100 columns wide.
    pub fn text(&self) -> String {
        let mut text = format!("{}\n\n", self.report.headline);
        let rows = by_strength(self.outcome);
        let cells: Vec<Vec<String>> = rows
            .iter()
            .take(SHOWN_FEATURES)
            .map(|row| verdict_cells(row))
            .collect();
        if !cells.is_empty() {
            text.push_str(
                "Effect of value B instead of value A on the target rate, in percentage points:\n\n",
            );
            let headings = [
                "feature",
                "effect",
                "95 % interval",
                "q",
                "percentile among controls",
                "verdict",
            ];
            text.push_str(&table(&headings, &cells));
            if rows.len() > SHOWN_FEATURES {
                let left = rows.len() - SHOWN_FEATURES;
                text.push_str(&format!("… and {left} more in verdicts.parquet\n"));
            }
            text.push('\n');
        }
        text.push_str(&self.checks_text());
        if let Some(pilot) = &self.outcome.pilot {
            text.push_str(&format!("\n{}", pilot_text(pilot)));
        }
        text.push_str(&format!("\nreport: {}\n", self.report.path.display()));
        text
    }

    fn checks_text(&self) -> String {
        let judged = self
            .outcome
            .checks
            .iter()
            .filter(|check| check.result != "fact")
            .count();
        let failed: Vec<&CheckRow> = self.failed_checks().collect();
        if failed.is_empty() {
            return format!("checks: all {judged} passed\n");
        }
        let mut text = format!("checks: {} of {judged} FAILED\n", failed.len());
        let number = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.4}"));
        for check in failed {
            let (figure, limit) = (number(check.figure), number(check.limit));
            text.push_str(&format!(
                "  {}, {}: {figure} (limit {limit}). {}\n",
                check.stage, check.check, check.words
            ));
        }
        text
    }

    /// The same for machines.
    pub fn json(&self) -> Value {
        let verdicts = by_strength(self.outcome);
        json!({
            "run": self.outcome.out.display().to_string(),
            "report": self.report.path.display().to_string(),
            "headline": self.report.headline,
            "details": self.report.details,
            "features": verdicts.iter().map(|row| verdict_json(row)).collect::<Vec<_>>(),
            "checks": self.outcome.checks.iter().map(check_json).collect::<Vec<_>>(),
            "failed_checks": self.failed_checks().map(|check| &check.check).collect::<Vec<_>>(),
            "pilot": self.outcome.pilot.as_ref().map(pilot_json),
        })
    }
}

/// The verdicts, specific effects first, then by size.
fn by_strength(outcome: &RunOutcome) -> Vec<&VerdictRow> {
    let mut rows: Vec<&VerdictRow> = outcome.verdicts.iter().collect();
    let other = |row: &VerdictRow| row.verdict != "specific_effect";
    rows.sort_by(|a, b| {
        other(a)
            .cmp(&other(b))
            .then(b.effect.abs().total_cmp(&a.effect.abs()))
    });
    rows
}

/// The strongest specific effect, or without one the largest.
pub fn strongest(outcome: &RunOutcome) -> Option<&VerdictRow> {
    by_strength(outcome).into_iter().next()
}

fn verdict_cells(row: &VerdictRow) -> Vec<String> {
    let points = |share: f64| format!("{:+.1}", 100.0 * share);
    vec![
        format!("L{}-{}", row.layer, row.feature),
        points(row.effect),
        format!("[{}, {}]", points(row.ci_low), points(row.ci_high)),
        if row.q < 0.001 {
            format!("{:.1e}", row.q)
        } else {
            format!("{:.3}", row.q)
        },
        row.control_percentile
            .map_or("–".to_owned(), |percentile| format!("{percentile:.1}")),
        row.verdict.replace('_', " "),
    ]
}

fn verdict_json(row: &VerdictRow) -> Value {
    json!({
        "feature": format!("L{}-{}", row.layer, row.feature),
        "layer": row.layer,
        "index": row.feature,
        "value_a": row.value_a,
        "value_b": row.value_b,
        "effect": row.effect,
        "ci_low": row.ci_low,
        "ci_high": row.ci_high,
        "p": row.p,
        "q": row.q,
        "control_percentile": row.control_percentile,
        "direction": row.direction,
        "verdict": row.verdict,
        "words": row.words,
    })
}

fn check_json(row: &CheckRow) -> Value {
    json!({
        "stage": row.stage,
        "check": row.check,
        "figure": row.figure,
        "limit": row.limit,
        "result": row.result,
        "words": row.words,
    })
}

fn pilot_text(pilot: &PilotEstimate) -> String {
    let memory = pilot.peak_memory_bytes.map_or("–".to_owned(), bytes);
    facts(&[
        (
            "pilot",
            format!(
                "{} features, {} trials in {}",
                pilot.pilot_features,
                count(pilot.pilot_trials),
                duration(pilot.pilot_seconds)
            ),
        ),
        (
            "the whole",
            format!("{} features, {} trials", pilot.features, count(pilot.trials)),
        ),
        ("time", format!("about {} for the sweep", duration(pilot.seconds))),
        ("disk", format!("about {} of trials", bytes(pilot.bytes))),
        (
            "memory",
            format!("{memory} at the peak so far; a larger sweep needs no more"),
        ),
    ])
}

fn pilot_json(pilot: &PilotEstimate) -> Value {
    json!({
        "pilot_features": pilot.pilot_features,
        "features": pilot.features,
        "pilot_trials": pilot.pilot_trials,
        "trials": pilot.trials,
        "pilot_seconds": pilot.pilot_seconds,
        "seconds": pilot.seconds,
        "bytes": pilot.bytes,
        "peak_memory_bytes": pilot.peak_memory_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(result: &str) -> RunOutcome {
        let verdict = VerdictRow {
            layer: 25,
            feature: 10096,
            value_a: 0.0,
            value_b: 3.5,
            effect: -0.123,
            ci_low: -0.2345,
            ci_high: -0.01,
            p: 1e-9,
            q: 1.23e-7,
            control_percentile: Some(99.5),
            p_by_controls: None,
            shift_a: 0.0,
            shift_b: 0.0,
            shared_shift: 0.0,
            shared_shift_p: None,
            shared_shift_q: 0.5,
            detectable_effect: None,
            unknown_share: 0.0,
            effect_known: None,
            p_known: None,
            direction: "lowers_target".into(),
            verdict: "shared_shift_only".into(),
            words: "…".into(),
        };
        let specific = VerdictRow {
            feature: 7,
            effect: 0.05,
            q: 0.0123,
            verdict: "specific_effect".into(),
            ..verdict.clone()
        };
        let check = CheckRow {
            stage: "causal".into(),
            check: "permuted_labels".into(),
            figure: Some(0.04),
            limit: Some(0.06),
            result: result.into(),
            words: "Words.".into(),
        };
        RunOutcome {
            out: "run".into(),
            verdicts: vec![verdict, specific],
            checks: vec![check],
            pilot: None,
        }
    }

    fn report() -> ReportSummary {
        ReportSummary {
            path: "run/report.html".into(),
            bytes: 1,
            headline: "Headline.".into(),
            details: vec![],
            judged_features: 2,
            specific_features: 1,
            failed_checks: vec![],
            missing_sections: vec![],
        }
    }

    #[test]
    fn specific_effects_come_first_and_lines_fit_a_terminal() {
        let outcome = outcome("passed");
        let report = report();
        let summary = RunSummary {
            outcome: &outcome,
            report: &report,
        };
        let text = summary.text();
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        assert!(
            text.find("L25-7").unwrap() < text.find("L25-10096").unwrap(),
            "{text}"
        );
        assert!(
            text.contains("-12.3") && text.contains("[-23.4, -1.0]") && text.contains("1.2e-7"),
            "{text}"
        );
        assert!(text.contains("all 1 passed"), "{text}");
        assert_eq!(summary.exit_code(), exit_code::DONE);
        assert_eq!(summary.json()["features"][0]["feature"], "L25-7");
    }

    #[test]
    fn a_failed_check_shows_in_text_and_exit_code_but_not_of_a_pilot() {
        let mut outcome = outcome("failed");
        let report = report();
        let summary = RunSummary {
            outcome: &outcome,
            report: &report,
        };
        assert!(summary.text().contains("1 of 1 FAILED"), "{}", summary.text());
        assert_eq!(summary.exit_code(), exit_code::CHECK_FAILED);
        outcome.pilot = Some(PilotEstimate {
            pilot_features: 1,
            features: 12,
            pilot_trials: 100,
            trials: 1200,
            pilot_seconds: 2.0,
            seconds: 24.0,
            bytes: 1 << 20,
            peak_memory_bytes: None,
        });
        let summary = RunSummary {
            outcome: &outcome,
            report: &report,
        };
        assert_eq!(summary.exit_code(), exit_code::DONE);
        assert!(
            summary.text().contains("12 features, 1 200 trials"),
            "{}",
            summary.text()
        );
    }
}
