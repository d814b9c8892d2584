//! The finding in plain words, from the verdicts and the checks.

use crate::data::{ReportData, strongest};
use crate::number::{self, counted};
use crate::verdicts::Verdict;

/// What the run found.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Finding {
    /// One sentence.
    pub(crate) headline: String,
    /// What stands behind it, in sentences.
    pub(crate) details: Vec<String>,
    /// Features with a specific effect.
    pub(crate) specific: usize,
    /// Features with a verdict.
    pub(crate) judged: usize,
    /// Checks that failed.
    pub(crate) failed_checks: Vec<String>,
}

impl Finding {
    /// Reads the finding off the data.
    pub(crate) fn of(data: &ReportData) -> Self {
        let verdicts = data.verdicts.as_deref().unwrap_or_default();
        let specific = verdicts
            .iter()
            .filter(|row| Verdict::of(row) == Verdict::Specific)
            .count();
        let mut details = Vec::new();
        details.extend(selection_words(data));
        details.extend(sweep_words(data));
        if !verdicts.is_empty() {
            details.extend(strongest_words(data));
            details.extend(rest_words(data));
        }
        details.extend(check_words(data));
        let failed_checks = failed_checks(data);
        Self {
            headline: headline(data, specific),
            details,
            specific,
            judged: verdicts.len(),
            failed_checks,
        }
    }
}

/// Names of the failed checks, without underscores.
fn failed_checks(data: &ReportData) -> Vec<String> {
    let checks = data.checks.iter().flatten().filter(|row| row.result == "failed");
    checks
        .map(|row| format!("{} ({})", spaced(&row.check), row.stage))
        .collect()
}

/// A table's name of something, in words.
pub(crate) fn spaced(name: &str) -> String {
    name.replace('_', " ")
}

fn headline(data: &ReportData, specific: usize) -> String {
    let target = &data.names().target;
    match (&data.verdicts, &data.selection) {
        (None, None) => "No stage of this run has finished, so there is nothing to report yet.".to_owned(),
        (None, Some(selection)) => format!(
            "{} selected; their causal effects have not been analysed yet.",
            counted(selection.selected.len(), "feature was", "features were")
        ),
        (Some(verdicts), _) if verdicts.is_empty() => {
            "No feature was selected, so no causal effect was tested.".to_owned()
        }
        (Some(verdicts), _) if specific == 0 => format!(
            "None of the {} has a specific effect on how often the answer is “{target}”.",
            counted(verdicts.len(), "tested feature", "tested features")
        ),
        (Some(verdicts), _) => format!(
            "{specific} of {} {} how often the answer is “{target}”.",
            counted(verdicts.len(), "tested feature", "tested features"),
            if specific == 1 {
                "specifically changes"
            } else {
                "specifically change"
            }
        ),
    }
}

fn selection_words(data: &ReportData) -> Option<String> {
    let selection = data.selection.as_ref()?;
    let names = data.names();
    let differing = match selection.alpha {
        Some(alpha) => format!(
            ", {} differ between the {} and the {} prompts (q < {alpha})",
            number::count(selection.total(|layer| layer.higher_a + layer.higher_b)),
            names.family_a,
            names.family_b
        ),
        None => String::new(),
    };
    Some(format!(
        "Of {} features that were active in {}{differing}; the {} with the largest differences in their layers were taken into the sweep.",
        number::count(selection.total(|layer| layer.tested)),
        counted(selection.layers.len(), "layer", "layers"),
        number::count(selection.selected.len() as u64)
    ))
}

fn sweep_words(data: &ReportData) -> Option<String> {
    let plan = data.plan.as_ref()?;
    let names = data.names();
    let done = data.trials.as_ref().map_or(0, |trials| trials.trials);
    let progress = if done < plan.trials {
        format!(" {} of these trials are complete.", number::count(done))
    } else {
        String::new()
    };
    Some(format!(
        "Each was set to its mean over {} prompts (value A) and to its mean over {} prompts (value B), in {} trials on {}; \
         trials of equal number share their random numbers in all arms. {} pushed equally far {} the reference.{progress}",
        names.family_a,
        names.family_b,
        number::count(plan.trials_per_prompt),
        counted(plan.prompts as usize, "prompt", "prompts each"),
        counted(plan.controls as usize, "random feature", "random features"),
        if plan.controls == 1 { "is" } else { "are" }
    ))
}

fn strongest_words(data: &ReportData) -> Option<String> {
    let row = strongest(data.verdicts.as_deref()?)?;
    let names = data.names();
    let specific = Verdict::of(row) == Verdict::Specific;
    let controls = row.control_percentile.map_or_else(String::new, |percentile| {
        let count = data.plan.as_ref().map_or(0, |plan| plan.controls);
        format!(
            " Its size is at percentile {} of the effects of {}.",
            number::percentile(percentile),
            counted(
                count as usize,
                "random-feature control",
                "random-feature controls"
            )
        )
    });
    Some(format!(
        "The {} is L{}-{}: value B instead of value A changes the {} rate by {} percentage points (95\u{202f}% interval {} to {}, {}).{controls}",
        if specific {
            "strongest"
        } else {
            "largest difference, not a specific one,"
        },
        row.layer,
        row.feature,
        names.target,
        number::points(row.effect),
        number::points(row.ci_low),
        number::points(row.ci_high),
        number::equation("q", row.q)
    ))
}

fn rest_words(data: &ReportData) -> Option<String> {
    let count = |verdict: Verdict| {
        data.verdicts
            .iter()
            .flatten()
            .filter(|row| Verdict::of(row) == verdict)
            .count()
    };
    let specific = count(Verdict::Specific);
    let parts: Vec<String> = [
        (
            Verdict::SharedShiftOnly,
            "shifts the rate alike under both values",
            "shift the rate alike under both values (comparing one value with baseline would mistake that for a cause)",
        ),
        (Verdict::NoEffect, "has no effect of interest", "have no effect of interest"),
        (Verdict::CannotTell, "is undecided", "are undecided"),
    ]
    .into_iter()
    .filter(|(verdict, _, _)| count(*verdict) > 0)
    .map(|(verdict, one, many)| counted(count(verdict), one, many))
    .collect();
    if parts.is_empty() {
        return None;
    }
    let whose = if specific > 0 { "Of the others" } else { "Of all" };
    Some(format!("{whose}, {}.", parts.join("; ")))
}

fn check_words(data: &ReportData) -> Option<String> {
    let checks = data.checks.as_ref()?;
    let passed = checks.iter().filter(|row| row.result == "passed").count();
    let failed = failed_checks(data);
    Some(if failed.is_empty() {
        format!(
            "All {} passed.",
            counted(passed, "check with a limit", "checks with a limit")
        )
    } else {
        format!(
            "{} failed: {}. {} passed.",
            counted(failed.len(), "check", "checks"),
            failed.join(", "),
            number::count(passed as u64)
        )
    })
}
