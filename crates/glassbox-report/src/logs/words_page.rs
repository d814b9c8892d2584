//! The page of an analysis of words.

use glassbox_log_effects::Verdict;
use glassbox_log_effects::words::{WordMethod, WordsAnalysis};

use super::body::{Body, Tile};
use super::words_grids;
use super::words_lists;
use crate::ReportError;
use crate::html_table::{Cell, HtmlTable, numbers, texts};
use crate::markup::Markup;
use crate::number;
use crate::page::{Section, page};

/// Puts the page of an analysis together. `title` says which logs it is of. Equal analyses give equal bytes.
///
/// # Errors
/// [`ReportError::Template`].
pub fn render_words(analysis: &WordsAnalysis, title: &str) -> Result<String, ReportError> {
    let section = |id, title, short, body| Section {
        id,
        title,
        short,
        is_there: true,
        body,
    };
    let mut sections = vec![section(
        "summary",
        "What the logs say",
        "Summary",
        summary(analysis)?,
    )];
    if !analysis.grids.is_empty() {
        sections.push(section(
            "grids",
            "Words by features",
            "Words by features",
            words_grids::body(analysis),
        ));
    }
    sections.extend([
        section(
            "lists",
            "Words added and removed",
            "Added and removed",
            words_lists::added_and_removed(analysis)?,
        ),
        section(
            "presence",
            "Words that go with the outcome",
            "With the outcome",
            words_lists::presence(analysis)?,
        ),
        section(
            "views",
            "Frequent and characteristic words",
            "Frequency, TF-IDF",
            words_lists::views(analysis)?,
        ),
    ]);
    page(
        title,
        "Words from trial logs",
        &sections,
        env!("CARGO_PKG_VERSION"),
    )
}

fn headline(analysis: &WordsAnalysis) -> &'static str {
    match (analysis.settings.method, analysis.verdict) {
        (WordMethod::Study, _) => "The study’s method lists words and corrects for nothing.",
        (_, Verdict::SpecificEffect) => "The value that a feature is set to changes which words are said.",
        (_, Verdict::SharedShiftOnly) => {
            "Intervening changes which words are said; the value that is set does not, as far as these tests see."
        }
        (_, Verdict::NoEffect) => "No word changes.",
        (_, Verdict::CannotTell) => "No word can be named whose use depends on the value of a feature.",
    }
}

fn summary(analysis: &WordsAnalysis) -> Result<Markup, ReportError> {
    let mut body = Body::default();
    body.headline(headline(analysis));
    let sum = |of: &dyn Fn(&glassbox_log_effects::words::ComparisonCount) -> usize| {
        number::count(analysis.comparisons.iter().map(of).sum::<usize>() as u64)
    };
    let mut tiles = vec![
        Tile::plain(number::count(analysis.responses), "responses"),
        Tile::plain(number::count(analysis.vocabulary as u64), "different words"),
        Tile::plain(sum(&|own| own.tests), "tests"),
        Tile::plain(sum(&|own| own.found), "words stand out"),
    ];
    for (count, text) in [
        (analysis.repeats.repeats, "rows repeat a trial"),
        (analysis.unusable_rows, "rows cannot be used"),
    ] {
        if count > 0 {
            tiles.push(Tile {
                figure: number::count(count),
                text,
                is_bad: true,
            });
        }
    }
    body.tiles(&tiles);
    body.paragraph(&analysis.words);
    for caution in &analysis.cautions {
        body.warning(caution);
    }
    body.facts(&facts(analysis));
    body.heading("Comparisons");
    if analysis.comparisons.is_empty() {
        body.absent("There are no two sides of any feature to compare.");
    } else {
        body.markup(&comparisons(analysis)?);
    }
    Ok(body.finish())
}

fn facts(analysis: &WordsAnalysis) -> Vec<(&'static str, String)> {
    let form = match (analysis.form.lower, analysis.form.stem) {
        (_, true) => "stems of small letters",
        (true, false) => "small letters",
        (false, false) => "as written",
    };
    vec![
        ("words", format!("{}, {form}", analysis.pattern)),
        (
            "counted",
            match analysis.settings.method {
                WordMethod::LogOdds => "once per response, however often it is said".to_owned(),
                WordMethod::Study => {
                    "every time it is said, as if the words of one response were independent".to_owned()
                }
            },
        ),
        (
            "limits",
            format!(
                "q at most {}, at least {} responses with the word, a prior worth {} responses",
                analysis.settings.alpha,
                number::count(analysis.settings.fewest_responses),
                number::figure(analysis.settings.prior_responses)
            ),
        ),
    ]
}

fn comparisons(analysis: &WordsAnalysis) -> Result<Markup, ReportError> {
    let heads = vec![
        texts("comparison", "second vs first"),
        numbers("tests", "features × prompts × words"),
        numbers("words found", ""),
        numbers("features", "with at least one of them"),
        numbers("π₀", "Storey’s estimate of the share of true hypotheses, λ = ½"),
        numbers(
            "smallest q",
            "Benjamini–Hochberg over all tests of the comparison",
        ),
    ];
    let rows = analysis.comparisons.iter().map(|own| {
        let family = analysis
            .families
            .iter()
            .find(|family| family.name == own.comparison);
        vec![
            Cell::text(&super::unit::comparison_name(&own.comparison)),
            Cell::count(own.tests as u64),
            Cell::count(own.found as u64),
            Cell::count(own.features as u64),
            Cell::number(family.map(|family| family.pi0), |share| number::decimal(share, 2)),
            Cell::number(family.map(|family| family.smallest_q), number::p_value),
        ]
    });
    let total = analysis.comparisons.len() as u64;
    HtmlTable::new("comparisons", heads, rows, total, "the output of --json").markup()
}
