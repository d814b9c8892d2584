//! Trials that are there more than once, or cannot be told apart.

use std::collections::{BTreeMap, HashSet};

use super::finding::{counted, grouped, percent};
use super::{Example, Finding, FindingKind, Severity, Totals};
use crate::{Arm, IndexedTrial, LogFile, TrialIndex};

/// The trials of one feature, repeats told apart.
#[derive(Default)]
struct FeatureRepeats {
    rows: u64,
    surplus: u64,
    same_text: u64,
    cells: u64,
    doubled_cells: u64,
    files: HashSet<u32>,
    first_repeat: Option<IndexedTrial>,
}

pub(super) fn check(index: &TrialIndex, files: &[LogFile], totals: &Totals, findings: &mut Vec<Finding>) {
    check_repeats(index, files, totals, findings);
    check_retries(index, totals, findings);
    let unnumbered = index
        .trials()
        .iter()
        .filter(|trial| trial.trial.is_none())
        .count() as u64;
    if unnumbered > 0 {
        let what = format!(
            "{} of {} have no trial number: repeats among them cannot be found",
            grouped(unnumbered),
            counted(totals.rows, "row")
        );
        findings.push(
            Finding::new(Severity::Warning, FindingKind::UnnumberedTrials, unnumbered, what)
                .remedy("see whether identical responses are reported for their cells"),
        );
    }
    let unknown: Vec<Example> = index
        .cells()
        .iter()
        .enumerate()
        .filter(|(_, cell)| matches!(cell.condition.arm, Arm::Other(_)))
        .fold(BTreeMap::<String, u64>::new(), |mut counts, (number, cell)| {
            *counts.entry(cell.condition.to_string()).or_default() += index.rows_of(number).len() as u64;
            counts
        })
        .into_iter()
        .map(|(name, rows)| Example::new(name, rows, ""))
        .collect();
    if !unknown.is_empty() {
        let rows = unknown.iter().map(|example| example.count).sum();
        let what = format!(
            "{} under {} that no vocabulary has; they are kept under their own names and compared with nothing",
            counted(rows, "row"),
            counted(unknown.len() as u64, "condition")
        );
        findings.push(
            Finding::new(Severity::Warning, FindingKind::UnknownConditions, rows, what)
                .remedy("rename them in the log; the known names are in docs/reference/trial-logs.md")
                .examples(unknown),
        );
    }
}

fn check_repeats(index: &TrialIndex, files: &[LogFile], totals: &Totals, findings: &mut Vec<Finding>) {
    let mut features: BTreeMap<String, FeatureRepeats> = BTreeMap::new();
    for (number, cell) in index.cells().iter().enumerate() {
        let name = cell
            .feature
            .map_or("baseline".to_owned(), |feature| feature.to_string());
        let feature = features.entry(name).or_default();
        let rows = &index.trials()[index.rows_of(number)];
        let surplus = rows.iter().filter(|trial| trial.is_repeat()).count() as u64;
        feature.rows += rows.len() as u64;
        feature.surplus += surplus;
        feature.cells += 1;
        feature.doubled_cells += u64::from(surplus > 0 && 2 * surplus >= rows.len() as u64);
        for pair in rows.windows(2) {
            let [before, repeat] = pair else { continue };
            if repeat.is_repeat() {
                feature.same_text += u64::from(before.response_hash == repeat.response_hash);
                feature.files.insert(repeat.place.file);
                let is_first = feature
                    .first_repeat
                    .is_none_or(|first| repeat.place < first.place);
                if is_first {
                    feature.first_repeat = Some(*repeat);
                }
            }
        }
    }
    let repeated: Vec<(String, FeatureRepeats)> =
        features.into_iter().filter(|(_, f)| f.surplus > 0).collect();
    if repeated.is_empty() {
        return;
    }
    let same_text: u64 = repeated.iter().map(|(_, feature)| feature.same_text).sum();
    let mut examples: Vec<Example> = repeated
        .iter()
        .map(|(name, feature)| {
            let extent = if feature.doubled_cells == feature.cells {
                "doubled".to_owned()
            } else {
                format!(
                    "partly: {} of {}",
                    feature.doubled_cells,
                    counted(feature.cells, "cell")
                )
            };
            let place = feature.first_repeat.map_or(String::new(), |trial| {
                let file = files
                    .get(trial.place.file as usize)
                    .and_then(|file| file.path.file_name())
                    .map_or(String::new(), |name| name.to_string_lossy().into_owned());
                format!("; the first repeat is row {} of {file}", grouped(trial.place.row))
            });
            let note = format!("{extent}, {} in all{place}", counted(feature.rows, "row"));
            Example::new(name.clone(), feature.surplus, note)
        })
        .collect();
    examples.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(&b.name)));
    let names: Vec<&str> = examples
        .iter()
        .take(5)
        .map(|example| example.name.as_str())
        .collect();
    let more = if examples.len() > names.len() { ", …" } else { "" };
    let kind = if same_text * 2 > totals.surplus_rows {
        "mostly the same text again: copies"
    } else {
        "mostly other text: re-runs that were appended"
    };
    let what = format!(
        "{} of {} repeat a trial that came before, of {}: {}{more}; {} have the same text ({kind})",
        counted(totals.surplus_rows, "surplus row"),
        grouped(totals.rows),
        counted(examples.len() as u64, "feature"),
        names.join(", "),
        grouped(same_text),
    );
    findings.push(
        Finding::new(
            Severity::Warning,
            FindingKind::RepeatedTrials,
            totals.surplus_rows,
            what,
        )
        .remedy("the first of each trial is kept here; count none of them twice")
        .examples(examples),
    );
}

fn check_retries(index: &TrialIndex, totals: &Totals, findings: &mut Vec<Finding>) {
    if totals.later_attempts == 0 {
        return;
    }
    let retried = index
        .trials()
        .chunk_by(|a, b| a.cell == b.cell && a.trial == b.trial)
        .filter(|attempts| attempts.iter().any(IndexedTrial::is_later_attempt))
        .count() as u64;
    let what = format!(
        "{} ({}) were tried again, in {}; the first attempt is taken here. A log whose outcomes come from the last attempt is \
         conditioned on what its parser called valid",
        counted(retried, "trial"),
        percent(retried, totals.trials),
        counted(totals.later_attempts, "further row")
    );
    findings.push(
        Finding::new(Severity::Warning, FindingKind::RetriedTrials, retried, what)
            .remedy("do not compare with rates that count the last attempts"),
    );
}
