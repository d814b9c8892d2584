//! Outcomes and texts: empty, identical, echoing, degenerate, of unequal validity.

use std::collections::BTreeMap;

use super::finding::{counted, grouped, percent};
use super::{Analysis, Example, Finding, FindingKind, Severity, Totals, TreatmentCount};
use crate::{AggregateRecord, BET_LABEL, Repeats, STOP_LABEL, Treatment, TrialIndex, UNKNOWN_LABEL};

/// Counts by treatment over all features, repeats left out.
pub(super) fn treatments(index: &TrialIndex) -> Vec<TreatmentCount> {
    let mut counts: BTreeMap<Treatment, (TreatmentCount, f64, u64)> = BTreeMap::new();
    for (number, cell) in index.cells().iter().enumerate() {
        let (count, amounts, known) = counts.entry(cell.treatment()).or_default();
        let mut trials = 0;
        for (trial, outcome) in index.counted(number, 0, Repeats::First) {
            trials += 1;
            count.stop += u64::from(outcome.label() == STOP_LABEL);
            count.bet += u64::from(outcome.label() == BET_LABEL);
            count.unknown += u64::from(outcome.label() == UNKNOWN_LABEL);
            count.empty += u64::from(trial.is_empty());
            count.echo += u64::from(trial.is_echo());
            if let Some(valid) = outcome.valid() {
                *count.valid.get_or_insert(0) += u64::from(valid);
            }
            if let Some(amount) = outcome.amount() {
                *amounts += amount;
                *known += 1;
            }
        }
        count.fewest = if count.cells == 0 {
            trials
        } else {
            count.fewest.min(trials)
        };
        count.most = count.most.max(trials);
        count.cells += 1;
        count.rows += index.rows_of(number).len() as u64;
        count.trials += trials;
    }
    counts
        .into_iter()
        .map(|(treatment, (mut count, amounts, known))| {
            count.treatment = treatment.to_string();
            count.mean_amount = (known > 0).then(|| amounts / known as f64);
            count
        })
        .collect()
}

/// Checks the texts, and the outcomes if the analysis needs them.
pub(super) fn check(
    index: &TrialIndex,
    treatments: &[TreatmentCount],
    totals: &Totals,
    analysis: Analysis,
    fewest: u64,
    findings: &mut Vec<Finding>,
) {
    if totals.trials == 0 {
        return;
    }
    check_texts(treatments, totals, findings);
    check_identical(index, analysis, fewest, findings);
    check_outcomes(treatments, totals, analysis, findings);
    check_validity(treatments, findings);
}

fn check_texts(treatments: &[TreatmentCount], totals: &Totals, findings: &mut Vec<Finding>) {
    let empty: u64 = treatments.iter().map(|count| count.empty).sum();
    if empty > 0 {
        let what = format!(
            "{} ({}) have no text",
            counted(empty, "response"),
            percent(empty, totals.trials)
        );
        findings.push(
            Finding::new(Severity::Warning, FindingKind::EmptyResponses, empty, what)
                .remedy("leave them out, or count them as unknown: they are no stops")
                .examples(by_treatment(treatments, |count| count.empty)),
        );
    }
    let echo: u64 = treatments.iter().map(|count| count.echo).sum();
    if echo > 0 {
        let severity = if 10 * echo >= totals.trials {
            Severity::Warning
        } else {
            Severity::Fact
        };
        let what = format!(
            "{} ({}) have a line that begins as a line of the prompt does",
            counted(echo, "response"),
            percent(echo, totals.trials)
        );
        findings.push(
            Finding::new(severity, FindingKind::EchoedPrompt, echo, what)
                .remedy("a parser that looks at the whole text reads the echo; look at the text before it")
                .examples(by_treatment(treatments, |count| count.echo)),
        );
    }
}

fn by_treatment(treatments: &[TreatmentCount], of: fn(&TreatmentCount) -> u64) -> Vec<Example> {
    treatments
        .iter()
        .filter(|count| of(count) > 0)
        .map(|count| {
            Example::new(
                count.treatment.clone(),
                of(count),
                percent(of(count), count.trials),
            )
        })
        .collect()
}

fn check_identical(index: &TrialIndex, analysis: Analysis, fewest: u64, findings: &mut Vec<Finding>) {
    let (mut judged, mut copies, mut trials) = (0_u64, 0_u64, 0_u64);
    let (mut identical, mut texts) = (Vec::new(), Vec::new());
    for (number, cell) in index.cells().iter().enumerate() {
        texts.clear();
        texts.extend(
            index
                .counted(number, 0, Repeats::First)
                .map(|(trial, _)| trial.response_hash),
        );
        let count = texts.len() as u64;
        texts.sort_unstable();
        texts.dedup();
        trials += count;
        copies += count - texts.len() as u64;
        if count >= fewest.max(2) {
            judged += 1;
            if texts.len() == 1 {
                identical.push(Example::new(cell.to_string(), count, ""));
            }
        }
    }
    if !identical.is_empty() {
        let count = identical.len() as u64;
        let most = 2 * count > judged;
        let severity = if most && analysis != Analysis::Words {
            Severity::Error
        } else {
            Severity::Warning
        };
        let what = format!(
            "in {} of {} all responses are the same text: repeated greedy decoding gives one response, however often it is \
             copied",
            grouped(count),
            counted(judged, "cell")
        );
        findings.push(
            Finding::new(severity, FindingKind::IdenticalResponses, count, what)
                .remedy("count each such cell as one trial; a test over its copies means nothing")
                .examples(identical),
        );
    }
    if copies > 0 {
        let what = format!(
            "{} ({}) have a text that another trial of their cell has too",
            counted(copies, "trial"),
            percent(copies, trials)
        );
        findings.push(Finding::new(
            Severity::Fact,
            FindingKind::IdenticalResponses,
            copies,
            what,
        ));
    }
}

fn check_outcomes(
    treatments: &[TreatmentCount],
    totals: &Totals,
    analysis: Analysis,
    findings: &mut Vec<Finding>,
) {
    let sum = |of: fn(&TreatmentCount) -> u64| treatments.iter().map(of).sum::<u64>();
    let (stop, bet, unknown) = (sum(|c| c.stop), sum(|c| c.bet), sum(|c| c.unknown));
    let other = totals.trials.saturating_sub(stop + bet + unknown);
    let mut parts = vec![
        format!("{} stop", percent(stop, totals.trials)),
        format!("{} bet", percent(bet, totals.trials)),
        format!("{} unknown", percent(unknown, totals.trials)),
    ];
    if other > 0 {
        parts.push(format!("{} other", percent(other, totals.trials)));
    }
    let what = format!("outcomes: {}", parts.join(", "));
    findings.push(Finding::new(
        Severity::Fact,
        FindingKind::UnknownOutcomes,
        unknown,
        what,
    ));
    let needs_outcomes = analysis != Analysis::Words;
    if unknown == totals.trials {
        let severity = if needs_outcomes {
            Severity::Warning
        } else {
            Severity::Fact
        };
        let what = "no trial has a readable outcome";
        findings.push(
            Finding::new(severity, FindingKind::UnknownOutcomes, unknown, what)
                .remedy("read them from the responses with a parser (--parser)"),
        );
    } else if 5 * unknown > totals.trials {
        let what = format!(
            "{} of all trials have no readable outcome",
            percent(unknown, totals.trials)
        );
        findings.push(
            Finding::new(Severity::Warning, FindingKind::UnknownOutcomes, unknown, what)
                .remedy("see whether their share depends on the arm; another parser may read more")
                .examples(by_treatment(treatments, |count| count.unknown)),
        );
    }
    let labels = [stop, bet, other].iter().filter(|count| **count > 0).count();
    if labels == 1 && totals.trials >= 2 {
        let severity = if needs_outcomes {
            Severity::Error
        } else {
            Severity::Warning
        };
        let one = if stop > 0 {
            "a stop"
        } else if bet > 0 {
            "a bet"
        } else {
            "the same"
        };
        let what = format!("every readable outcome is {one}: nothing can differ between arms");
        findings.push(
            Finding::new(
                severity,
                FindingKind::DegenerateOutcomes,
                totals.trials - unknown,
                what,
            )
            .remedy(
                "look at the responses and the parser; an experiment without any variation tests nothing",
            ),
        );
    }
}

fn check_validity(treatments: &[TreatmentCount], findings: &mut Vec<Finding>) {
    let stated: Vec<(&TreatmentCount, f64)> = treatments
        .iter()
        .filter(|count| count.trials > 0)
        .filter_map(|count| Some((count, count.valid? as f64 / count.trials as f64)))
        .collect();
    if stated.is_empty() {
        return;
    }
    let invalid: u64 = stated
        .iter()
        .map(|(count, _)| count.trials - count.valid.unwrap_or(0))
        .sum();
    if invalid == 0 {
        let what = "every trial is called valid, so `valid` says nothing about the outcomes";
        findings.push(Finding::new(Severity::Fact, FindingKind::Validity, 0, what));
        return;
    }
    let examples = stated.iter().map(|(count, share)| {
        let note = format!("{:.1} % valid", 100.0 * share);
        Example::new(
            count.treatment.clone(),
            count.trials - count.valid.unwrap_or(0),
            note,
        )
    });
    // Compared within a kind of prompt: the prompts themselves differ.
    let mut ranges: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for (count, share) in &stated {
        let prompt = count.treatment.split('/').next().unwrap_or_default();
        let range = ranges.entry(prompt).or_insert((*share, *share));
        *range = (range.0.min(*share), range.1.max(*share));
    }
    let widest = ranges.values().map(|(low, high)| high - low).fold(0.0, f64::max);
    let severity = if widest > 0.1 {
        Severity::Warning
    } else {
        Severity::Fact
    };
    let what = format!(
        "{} are called invalid; the share of valid trials differs by up to {:.1} points between the arms of a prompt",
        counted(invalid, "trial"),
        100.0 * widest
    );
    findings.push(
        Finding::new(severity, FindingKind::Validity, invalid, what)
            .remedy("dropping invalid trials compares different selections of trials; count them as unknown and bound the effect")
            .examples(examples),
    );
}

/// Checks counted cells; `decides` says that the analysis has nothing else.
pub(super) fn check_aggregates(aggregates: &[AggregateRecord], decides: bool, findings: &mut Vec<Finding>) {
    if aggregates.is_empty() {
        return;
    }
    let rate = |record: &AggregateRecord| match (record.stop.rate, record.stop.count, record.trials) {
        (Some(rate), _, _) => Some(rate),
        (None, Some(count), Some(trials)) if trials > 0 => Some(count as f64 / trials as f64),
        _ => None,
    };
    let rates: Vec<f64> = aggregates.iter().filter_map(rate).collect();
    let first = rates.first().copied().unwrap_or(0.0);
    if rates.len() > 1 && rates.iter().all(|rate| *rate == first) {
        let severity = if decides {
            Severity::Error
        } else {
            Severity::Warning
        };
        let what = format!(
            "every one of {} stop rates is exactly {first}: nothing can differ between arms",
            grouped(rates.len() as u64)
        );
        findings.push(
            Finding::new(
                severity,
                FindingKind::DegenerateOutcomes,
                rates.len() as u64,
                what,
            )
            .remedy("find the responses behind them; such numbers come from a parser or a run that failed"),
        );
    }
    let uncounted = aggregates.iter().filter(|record| record.trials.is_none()).count() as u64;
    if uncounted > 0 {
        let what = format!(
            "{} of {} have rates but no numbers of trials, so no test is possible",
            grouped(uncounted),
            counted(aggregates.len() as u64, "counted cell")
        );
        findings.push(
            Finding::new(
                Severity::Warning,
                FindingKind::ContradictoryCounts,
                uncounted,
                what,
            )
            .remedy("give the file that states the numbers of trials"),
        );
    }
    let mut wrong = Vec::new();
    for record in aggregates {
        let name = || {
            let feature = record
                .feature
                .map_or("baseline".to_owned(), |feature| feature.to_string());
            format!("{feature} {}", record.condition)
        };
        if let (Some(rate), Some(count), Some(trials)) = (record.stop.rate, record.stop.count, record.trials)
            && trials > 0
            && (rate - count as f64 / trials as f64).abs() > 1e-6
        {
            wrong.push(Example::new(
                name(),
                count,
                format!("stop rate {rate} of {trials} trials"),
            ));
        } else if rate(record).is_some_and(|rate| !(0.0..=1.0).contains(&rate)) {
            wrong.push(Example::new(name(), 0, "a stop rate outside 0 to 1"));
        } else if let (Some(trials), Some(stops)) = (record.trials, record.stop.count)
            && !record.amounts.is_empty()
            && record.amounts.len() as u64 + stops != trials
        {
            let bets = record.amounts.len();
            wrong.push(Example::new(
                name(),
                bets as u64,
                format!("{bets} amounts and {stops} stops of {trials} trials"),
            ));
        }
    }
    if !wrong.is_empty() {
        let count = wrong.len() as u64;
        let what = format!("{} contradict their own numbers", counted(count, "counted cell"));
        findings.push(
            Finding::new(Severity::Warning, FindingKind::ContradictoryCounts, count, what)
                .remedy("do not use their rates; count from the trials")
                .examples(wrong),
        );
    }
}
