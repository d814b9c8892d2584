//! The verdict, with what stands behind it and in its way.

use glassbox_log_effects::{CausalAnalysis, MeasureResult, Question, Verdict};

use super::body::{Body, Tile};
use super::unit::{Unit, capital, contrast};
use crate::markup::Markup;
use crate::number;

pub(super) fn body(analysis: &CausalAnalysis) -> Markup {
    let mut body = Body::default();
    body.headline(headline(analysis.verdict));
    body.tiles(&tiles(analysis));
    body.paragraph(&analysis.words);
    for caution in &analysis.cautions {
        body.warning(caution);
    }
    body.heading("What was read");
    body.facts(&facts(analysis));
    for result in &analysis.measures {
        let unit = Unit::of(&result.measure);
        body.heading(&capital(&format!(
            "{}: {}",
            unit.words,
            contrast(result.question)
        )));
        body.facts(&measure_facts(result, &unit));
    }
    body.finish()
}

/// A verdict as a sentence.
fn headline(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::SpecificEffect => "Specific effect: the value that a feature is set to changes the outcome.",
        Verdict::SharedShiftOnly => {
            "Shared shift only: intervening changes the outcome, the value that is set does not."
        }
        Verdict::NoEffect => "No effect beyond chance, and the data could have seen one that matters.",
        Verdict::CannotTell => "The data cannot tell.",
    }
}

fn tiles(analysis: &CausalAnalysis) -> Vec<Tile> {
    let mut tiles = vec![
        Tile::plain(number::count(analysis.features as u64), "features"),
        Tile::plain(number::count(analysis.trials), "trials that count"),
    ];
    if let Some(first) = analysis.measures.first() {
        tiles.push(Tile::plain(
            number::count(first.found.len() as u64),
            "features stand out",
        ));
        if let Some(spread) = &first.spread {
            tiles.push(Tile::plain(
                number::decimal(spread.variance_z, 2),
                "variance of z (1 by chance)",
            ));
        }
        if let Some(shared) = &first.shared {
            let unit = Unit::of(&first.measure);
            let text = if unit.is_amount() {
                "mean shared shift"
            } else {
                "points of shared shift"
            };
            tiles.push(Tile::plain(unit.difference(shared.mean_effect), text));
        }
    }
    if analysis.repeats.repeats > 0 {
        tiles.push(Tile {
            figure: number::count(analysis.repeats.repeats),
            text: "rows repeat a trial",
            is_bad: true,
        });
    }
    if analysis.unusable_rows > 0 {
        tiles.push(Tile {
            figure: number::count(analysis.unusable_rows),
            text: "rows cannot be used",
            is_bad: true,
        });
    }
    tiles
}

fn facts(analysis: &CausalAnalysis) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    facts.push((
        "outcomes",
        match &analysis.outcomes.hash {
            Some(hash) => format!("read by the parser {} ({hash})", analysis.outcomes.name),
            None if analysis.counted_cells > 0 => "as the files count them".to_owned(),
            None => "as the logs state them".to_owned(),
        },
    ));
    if analysis.counted_cells > 0 {
        facts.push(("counted cells", number::count(analysis.counted_cells)));
    }
    if analysis.repeats.rows > 0 {
        let repeats = &analysis.repeats;
        facts.push((
            "rows",
            format!(
                "{} of {} count; {} repeat a trial, {} are later attempts",
                number::count(repeats.kept),
                number::count(repeats.rows),
                number::count(repeats.repeats),
                number::count(repeats.later_attempts)
            ),
        ));
    }
    if let Some(reference) = analysis.reference {
        facts.push(("values compared with", reference.replace('_', " ")));
    }
    facts
}

fn measure_facts(result: &MeasureResult, unit: &Unit) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("verdict", result.verdict.name().replace('_', " ")),
        (
            "features",
            format!(
                "{} compared, {} stand out, {} without information",
                number::count(result.features as u64),
                number::count(result.found.len() as u64),
                number::count(result.uninformative as u64)
            ),
        ),
    ];
    let mean = |spread: &glassbox_log_effects::Spread| {
        format!(
            "{}, 95 % interval {}; variance of z {} [{}, {}]",
            unit.named(spread.mean_effect),
            unit.interval((spread.mean_low, spread.mean_high)),
            number::decimal(spread.variance_z, 2),
            number::decimal(spread.variance_low, 2),
            number::decimal(spread.variance_high, 2)
        )
    };
    if let Some(spread) = &result.spread {
        let name = match result.question {
            Question::Values => "mean of B minus A",
            Question::Doses => "mean over the range",
        };
        facts.push((name, mean(spread)));
        facts.push((
            "true effects",
            format!(
                "standard deviation {}, at most {}",
                number::decimal(spread.true_deviation * unit.scale, 1),
                number::decimal(spread.true_deviation_high * unit.scale, 1)
            ),
        ));
    }
    if let Some(shared) = &result.shared {
        facts.push(("shared shift", mean(shared)));
    }
    if let Some(controls) = &result.controls {
        facts.push(("random features", mean(controls)));
    }
    if let Some(detectable) = result.detectable {
        let family = result.detectable_in_family.map_or_else(String::new, |least| {
            format!(
                "; {} if the level is shared among all",
                number::decimal(least * unit.scale, 1)
            )
        });
        facts.push((
            "80 % power",
            format!(
                "for {} in one feature’s test at 5 %{family}",
                unit.named(detectable)
            ),
        ));
    }
    facts.push(("unknown outcomes", number::percent(result.unknown_share)));
    facts
}
