//! Words by features as heat maps: one per comparison and kind of prompt, all with the same words and features.

use glassbox_log_effects::words::{WordGrid, WordsAnalysis};

use super::body::{Body, Caption, legend_swatch};
use crate::figures::heat_map::{HeatCell, HeatMap};
use crate::markup::Markup;
use crate::number;

/// Log odds ratios of this size have the deepest shade: seven times the odds.
const DEEPEST: f64 = 2.0;

pub(super) fn body(analysis: &WordsAnalysis) -> Markup {
    let mut body = Body::default();
    body.paragraph(
        "The most distinct words and features of the first comparison, the same in every map. Where value A and value B show the \
         same pattern against the reference and their difference shows none, intervening changes words and the value does not.",
    );
    for grid in &analysis.grids {
        let name = super::unit::comparison_name(&grid.comparison);
        let caption = Caption {
            title: &format!("{} prompts: {name}.", super::unit::capital(&grid.prompt)),
            rest: &format!(
                "Log odds ratios, second over first; + and − from ±{} on. Framed with a dot: q ≤ {}. Pale: too few responses \
                 have the word for a test.",
                number::decimal(0.5, 1),
                analysis.settings.alpha
            ),
            legend: vec![
                legend_swatch("heat-up heat-4", "more frequent in the second"),
                legend_swatch("heat-down heat-4", "less frequent"),
            ],
        };
        body.figure(&caption, &map(grid, analysis.settings.alpha, &name));
    }
    body.finish()
}

fn map(grid: &WordGrid, alpha: f64, name: &str) -> Markup {
    let rows = grid.words.iter().zip(&grid.cells).map(|(word, cells)| {
        let cells = cells.iter().zip(&grid.features).map(|(cell, feature)| {
            cell.map(|cell| {
                let text = if cell.log_odds >= 0.5 {
                    "+"
                } else if cell.log_odds <= -0.5 {
                    "\u{2212}"
                } else {
                    ""
                };
                HeatCell {
                    level: cell.log_odds / DEEPEST,
                    text: text.to_owned(),
                    about: format!(
                        "{feature}, “{word}”: in {} of the first, {} of the second; log odds ratio {}, {}",
                        number::percent(cell.share_1),
                        number::percent(cell.share_2),
                        number::signed(cell.log_odds, 2),
                        number::equation("q", cell.q)
                    ),
                    is_marked: cell.q <= alpha,
                }
            })
        });
        (word.clone(), cells.collect())
    });
    HeatMap {
        label: format!(
            "Log odds ratios of words by features, {} prompts, {name}",
            grid.prompt
        ),
        titles: (String::new(), String::new()),
        columns: grid.features.clone(),
        rows: rows.collect(),
        cell: (27.0, 19.0),
    }
    .draw()
}
