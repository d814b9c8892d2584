//! What stands in the way of taking a verdict at its word.

use crate::causal::MeasureResult;
use crate::cells::Cells;
use crate::feature_arms::Arms;
use crate::summary_rows::BaselineDrift;
use crate::unread::unread;
use crate::verdict::Question;

/// What stands in the way of taking the verdict at its word, in sentences.
pub(crate) fn cautions(
    cells: &Cells,
    arms: &Arms<'_>,
    results: &[MeasureResult],
    drift: &[BaselineDrift],
) -> Vec<String> {
    let mut cautions = unread(&cells.report);
    let repeats = &cells.repeats;
    if repeats.repeats > 0 {
        let names: Vec<String> = repeats
            .features
            .iter()
            .take(3)
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        let features = repeats.features.len();
        let more = if features > 3 { ", …" } else { "" };
        let dropped = repeats.rows - repeats.kept - repeats.later_attempts;
        cautions.push(format!(
            "{} rows repeat a trial of {features} features ({}{more}); {dropped} rows were left out.",
            repeats.repeats,
            names.join(", ")
        ));
    }
    if repeats.unnumbered > 0 {
        cautions.push(format!(
            "{} trials have no number: whether they repeat one another cannot be told.",
            repeats.unnumbered
        ));
    }
    if cells.source.hash.is_none() && repeats.rows > 0 {
        cautions.push(
            "Outcomes are as the log states them; read them again with --parser to see what depends on the parser.".to_owned(),
        );
    }
    for own in drift {
        if own.p_more < 0.001 {
            cautions.push(format!(
                "Baselines differ among the features they were logged under ({}; variance of z {:.1}, p = {:.1e}), though no feature has a part \
                 in them: sessions differ. Compare with --baseline own.",
                own.measure, own.variance_z, own.p_more
            ));
        } else if own.p_less < 0.001 {
            cautions.push(format!(
                "Baselines differ less among features than chance allows ({}; variance of z {:.2}): they may be copies of one another, and \
                 intervals too narrow.",
                own.measure, own.variance_z
            ));
        }
    }
    for result in results {
        if let Some(spread) = &result.spread
            && spread.p_less < 0.001
        {
            cautions.push(format!(
                "Effects on {} differ less among features than chance allows (variance of z {:.2}): trials may be copies of one another.",
                result.measure, spread.variance_z
            ));
        }
        if result.uninformative > 0 {
            cautions.push(format!(
                "{} of {} features have one and the same outcome ({}) in all trials compared; they count as tested.",
                result.uninformative, result.features, result.measure
            ));
        }
    }
    let unread = cells
        .tallies
        .keys()
        .filter(|key| matches!(key.arm, glassbox_logs::Arm::Other(_)))
        .count();
    if unread > 0 {
        cautions.push(format!(
            "{unread} cells have an arm that no vocabulary here knows; they are not compared."
        ));
    }
    if arms.reference().is_none() && results.iter().any(|result| result.question == Question::Values) {
        cautions.push("There is no baseline: a shift that both values share cannot be seen.".to_owned());
    }
    cautions
}
