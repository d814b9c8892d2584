//! `words`: which words features add to responses or remove from them, from logs alone.

use std::path::{Path, PathBuf};

use glassbox_log_effects::Verdict;
use glassbox_log_effects::words::{
    LogWordRow, PresenceRow, WordCells, WordReader, WordView, WordsAnalysis, analyse_words,
};
use glassbox_report::render_words;
use glassbox_store::{Storage, write_table};

use crate::error::{CliError, one_file};
use crate::exit_code;
use crate::log_arguments::{WordViewArgument, WordsArguments};
use crate::log_page::LogPage;
use crate::log_progress::LogProgress;
use crate::model_tokens::ModelTokens;
use crate::output::{print, print_json, refuse_input_as_output, refuse_other_kinds};
use crate::table::{count, cut, facts, table};

/// Reads logs, compares their words and prints what they say.
///
/// # Errors
/// A [`CliError`] if the logs cannot be read, hold no responses, or a signal came.
pub fn words(arguments: &WordsArguments, quiet: bool) -> Result<u8, CliError> {
    let settings = arguments.settings()?;
    let pattern = match &arguments.tokenizer {
        Some(path) => ModelTokens::open(path)?.into_pattern(),
        None => arguments.pattern.parse()?,
    };
    let reader = WordReader::new(pattern, arguments.form())?;
    let html = LogPage::new(arguments.html.as_deref(), &arguments.input.paths)?;
    if let Some(table) = &arguments.out {
        refuse_other_kinds(table)?;
        let inputs: Vec<&Path> = arguments.input.paths.iter().map(PathBuf::as_path).collect();
        refuse_input_as_output(table, &inputs)?;
    }
    let logs = arguments.input.logs()?;
    let parser = arguments.input.parser()?;
    let watch = LogProgress::begin(&logs, "words", quiet)?;
    let counting = arguments.input.count_settings(parser.as_ref());
    let cells = WordCells::read(&logs, counting, &reader, &arguments.outcome, &watch)?;
    let analysis = analyse_words(&cells, &reader, &arguments.outcome, &settings, arguments.top)?;
    watch.finish(format!(
        "{} different words in {} responses",
        count(analysis.vocabulary as u64),
        count(analysis.responses)
    ));
    if let Some(path) = &arguments.out {
        write(path, &analysis.rows)?;
    }
    if let Some(html) = &html {
        html.write(|title| render_words(&analysis, title))?;
    }
    if arguments.json {
        print_json(&analysis)?;
    } else {
        print(&page(&analysis, arguments))?;
    }
    Ok(match analysis.verdict {
        Verdict::CannotTell => exit_code::CHECK_FAILED,
        _ => exit_code::DONE,
    })
}

fn write(path: &Path, rows: &[LogWordRow]) -> Result<(), CliError> {
    write_table(&Storage::new(), path, rows)
        .map(|_| ())
        .map_err(one_file)
}

/// One page of text.
fn page(analysis: &WordsAnalysis, arguments: &WordsArguments) -> String {
    let mut text = format!("{}: {}\n\n", analysis.verdict.name(), analysis.words);
    let form = match (analysis.form.lower, analysis.form.stem) {
        (_, true) => "stems of small letters",
        (true, false) => "small letters",
        (false, false) => "as written",
    };
    let mut known = vec![
        ("responses", count(analysis.responses)),
        (
            "words",
            format!("{} different, {form}", count(analysis.vocabulary as u64)),
        ),
        ("pattern", cut(&analysis.pattern, 60)),
    ];
    if analysis.repeats.repeats > 0 {
        let kept = arguments.input.duplicates.name();
        known.push((
            "repeats",
            format!("{} rows; kept: {kept}", count(analysis.repeats.repeats)),
        ));
    }
    text.push_str(&facts(&known));
    for caution in &analysis.cautions {
        text.push_str(&format!("caution: {caution}\n"));
    }
    if !analysis.comparisons.is_empty() {
        let rows: Vec<Vec<String>> = analysis
            .comparisons
            .iter()
            .map(|own| {
                vec![
                    own.comparison.clone(),
                    count(own.tests as u64),
                    count(own.found as u64),
                    count(own.features as u64),
                ]
            })
            .collect();
        text.push('\n');
        text.push_str(&table(&["comparison", "tests", "words found", "features"], &rows));
    }
    match arguments.view {
        WordViewArgument::LogOdds => {
            for own in &analysis.comparisons {
                text.push_str(&most_distinct(analysis, &own.comparison, arguments.top));
            }
            text.push_str(&presence(analysis, arguments.top));
        }
        WordViewArgument::Frequency => text.push_str(&views(analysis, false)),
        WordViewArgument::TfIdf => text.push_str(&views(analysis, true)),
    }
    text
}

/// The words with the smallest p of one comparison.
fn most_distinct(analysis: &WordsAnalysis, comparison: &str, top: usize) -> String {
    let mut rows: Vec<&LogWordRow> = analysis
        .rows
        .iter()
        .filter(|row| row.comparison == comparison)
        .collect();
    rows.sort_by(|a, b| a.p.total_cmp(&b.p));
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .take(top)
        .map(|row| {
            let interval = match (row.ci_low, row.ci_high) {
                (Some(low), Some(high)) => format!("{low:+.2} to {high:+.2}"),
                _ => "–".to_owned(),
            };
            vec![
                format!("L{}-{}", row.layer, row.feature),
                cut(&row.prompt, 8),
                cut(&row.word, 16),
                format!("{}/{}", row.responses_1, row.n_1),
                format!("{}/{}", row.responses_2, row.n_2),
                format!("{:+.2}", row.log_odds),
                interval,
                small(row.p),
                row.q.map_or("–".to_owned(), small),
            ]
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let headings = [
        "feature", "prompt", "word", "first", "second", "log odds", "95 %", "p", "q",
    ];
    format!("\n{comparison}\n{}", table(&headings, &rows))
}

fn small(p: f64) -> String {
    if p < 0.001 {
        format!("{p:.1e}")
    } else {
        format!("{p:.3}")
    }
}

fn presence(analysis: &WordsAnalysis, top: usize) -> String {
    let rows: Vec<Vec<String>> = analysis
        .presence
        .iter()
        .take(top)
        .map(|row: &PresenceRow| {
            let optional = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.2}"));
            vec![
                cut(&row.word, 16),
                count(row.present),
                format!("{:.1}", 100.0 * row.rate_present),
                format!("{:.1}", 100.0 * row.rate_absent),
                optional(row.odds_ratio),
                format!("{} to {}", optional(row.odds_low), optional(row.odds_high)),
                small(row.q),
            ]
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let headings = [
        "word",
        "responses",
        "% with",
        "% without",
        "odds ratio",
        "95 %",
        "q",
    ];
    format!(
        "\n{} where the word is said and where it is not, within conditions\n{}",
        analysis.presence_outcome,
        table(&headings, &rows)
    )
}

fn views(analysis: &WordsAnalysis, tf_idf: bool) -> String {
    let mut text = String::new();
    for view in &analysis.views {
        let WordView {
            prompt,
            arm,
            responses,
            ..
        } = view;
        let words = if tf_idf {
            &view.by_tf_idf
        } else {
            &view.by_responses
        };
        let rows: Vec<Vec<String>> = words
            .iter()
            .map(|share| {
                vec![
                    cut(&share.word, 20),
                    count(share.responses),
                    format!("{:.1}", 100.0 * share.response_share),
                    format!("{:.2}", 100.0 * share.frequency),
                    format!("{:.4}", share.tf_idf),
                ]
            })
            .collect();
        text.push_str(&format!("\n{prompt}, {arm}: {} responses\n", count(*responses)));
        let headings = ["word", "responses", "% of responses", "% of words", "TF-IDF"];
        text.push_str(&table(&headings, &rows));
    }
    text
}
