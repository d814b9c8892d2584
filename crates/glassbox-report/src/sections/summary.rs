//! The finding, what was compared, and one pair of responses.

use std::collections::BTreeSet;

use askama::Template;
use glassbox_experiment::scenario::{InterventionKind, InterventionPositions};

use crate::ReportError;
use crate::data::{ExamplePair, ExampleResponse, Names, PromptText, ReportData};
use crate::finding::Finding;
use crate::markup::{Markup, escape_into, shortened};
use crate::number;
use crate::verdicts::Verdict;

/// Characters of a prompt or a response on the page.
const MOST_CHARACTERS: usize = 4000;

#[derive(Template)]
#[template(path = "summary.html")]
struct Summary<'a> {
    finding: &'a Finding,
    tiles: Vec<Tile>,
    facts: Vec<(&'static str, String)>,
    names: Names,
    alpha: Option<f64>,
    percentile: Option<f64>,
    verdicts: Vec<(&'static str, &'static str)>,
    prompts: Vec<PromptView>,
    example_of: String,
    examples: Vec<ExampleView>,
}

struct Tile {
    figure: String,
    text: String,
    is_bad: bool,
}

struct PromptView {
    family: String,
    prompt_id: String,
    text: Markup,
}

struct ExampleView {
    family: String,
    prompt_id: String,
    trial: u32,
    words: String,
    sides: [SideView; 2],
}

struct SideView {
    value: &'static str,
    outcome: String,
    text: Markup,
}

pub(super) fn body(data: &ReportData, finding: &Finding) -> Result<Markup, ReportError> {
    let names = data.names();
    let example_of = data
        .trials
        .as_ref()
        .and_then(|trials| trials.example_feature)
        .map_or_else(String::new, |feature| feature.to_string());
    let causal = data.scenario.as_ref().map(|scenario| &scenario.causal);
    let page = Summary {
        finding,
        tiles: tiles(data, finding),
        facts: facts(data),
        alpha: causal.map(|causal| causal.alpha),
        percentile: causal.map(|causal| causal.control_percentile),
        verdicts: Verdict::ALL
            .iter()
            .map(|verdict| (verdict.name(), verdict.meaning()))
            .collect(),
        prompts: prompt_views(&data.prompts, &names),
        example_of,
        examples: [&names.family_a, &names.family_b]
            .into_iter()
            .flat_map(|family| {
                data.trials
                    .iter()
                    .flat_map(|trials| &trials.examples)
                    .filter(move |pair| pair.family == *family)
            })
            .map(|pair| example_view(pair, &names))
            .collect(),
        names,
    };
    Ok(Markup::assembled(page.render()?))
}

fn tiles(data: &ReportData, finding: &Finding) -> Vec<Tile> {
    let mut tiles = Vec::new();
    let mut tile = |figure: String, text: &str, is_bad: bool| {
        tiles.push(Tile {
            figure,
            text: text.to_owned(),
            is_bad,
        })
    };
    if let Some(selection) = &data.selection {
        tile(
            number::count(selection.total(|layer| layer.tested)),
            "features compared",
            false,
        );
        if selection.alpha.is_some() {
            let differing = selection.total(|layer| layer.higher_a + layer.higher_b);
            tile(number::count(differing), "differ between the prompts", false);
        }
    }
    if data.verdicts.is_some() {
        tile(number::count(finding.judged as u64), "set to both values", false);
        tile(
            number::count(finding.specific as u64),
            "with a specific effect",
            false,
        );
    }
    if data.checks.is_some() {
        let failed = finding.failed_checks.len();
        tile(
            number::count(failed as u64),
            if failed == 1 {
                "check failed"
            } else {
                "checks failed"
            },
            failed > 0,
        );
    }
    tiles
}

fn facts(data: &ReportData) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if let Some(scenario) = &data.scenario {
        facts.push(("Scenario", scenario.name.clone()));
        if !scenario.description.is_empty() {
            facts.push(("Question", scenario.description.clone()));
        }
        facts.push(("Model", scenario.model.clone()));
        facts.push(("Dictionaries", scenario.dictionaries.clone()));
        facts.push((
            "Outcome",
            format!(
                "{} (target: {}), read by the parser {}@{}",
                scenario.outcome.choices.join(", "),
                scenario.outcome.target,
                scenario.parser.name,
                scenario.parser.version
            ),
        ));
        let sampling = if scenario.sweep.temperature == 0.0 {
            "greedy".to_owned()
        } else {
            format!("temperature {}", scenario.sweep.temperature)
        };
        facts.push((
            "Generation",
            format!(
                "{sampling}, at most {} new tokens, seed {}",
                scenario.sweep.max_new_tokens, scenario.seed
            ),
        ));
        let kind = match scenario.sweep.intervention {
            InterventionKind::Delta => {
                "delta: the feature is set, the dictionary’s reconstruction error stays"
            }
            InterventionKind::Reconstruction => {
                "reconstruction: the residual is replaced by the dictionary’s reconstruction"
            }
        };
        let places = match scenario.sweep.positions {
            InterventionPositions::LastOfPrompt => "at the prompt’s last token",
            InterventionPositions::LastAndGenerated => "at the prompt’s last token and every generated one",
            InterventionPositions::All => "at every token",
        };
        facts.push(("Intervention", format!("{kind}; {places}")));
    }
    facts
}

/// One prompt of each family, lines that the other family's prompt does not have marked.
fn prompt_views(prompts: &[PromptText], names: &Names) -> Vec<PromptView> {
    let first = |family: &String| prompts.iter().find(|prompt| prompt.family == *family);
    let firsts: Vec<&PromptText> = [&names.family_a, &names.family_b]
        .into_iter()
        .filter_map(first)
        .collect();
    firsts
        .iter()
        .map(|prompt| {
            let others: BTreeSet<&str> = firsts
                .iter()
                .filter(|other| other.family != prompt.family)
                .flat_map(|other| other.text.lines())
                .collect();
            let mut markup = String::new();
            for line in shortened(&prompt.text, MOST_CHARACTERS).lines() {
                let is_own = firsts.len() > 1 && !line.trim().is_empty() && !others.contains(line);
                markup.push_str(if is_own { "<mark>" } else { "" });
                escape_into(&mut markup, line);
                markup.push_str(if is_own { "</mark>\n" } else { "\n" });
            }
            PromptView {
                family: prompt.family.clone(),
                prompt_id: prompt.prompt_id.clone(),
                text: Markup::assembled(markup),
            }
        })
        .collect()
}

fn example_view(pair: &ExamplePair, names: &Names) -> ExampleView {
    let shared = shared_beginning(&pair.a.text, &pair.b.text);
    let side = |value: &'static str, response: &ExampleResponse| SideView {
        value,
        outcome: match response.amount {
            Some(amount) => format!("{} {}{amount}", response.outcome, names.unit),
            None => response.outcome.clone(),
        },
        text: diverging(&response.text, shared),
    };
    let words = if pair.a.text == pair.b.text {
        "Both responses are the same, as are those of all pairs before it".to_owned()
    } else if shared == 0 {
        "The responses differ from the first word on".to_owned()
    } else {
        "The grey beginning is the same in both; the marked part is not".to_owned()
    };
    ExampleView {
        family: pair.family.clone(),
        prompt_id: pair.prompt_id.clone(),
        trial: pair.trial,
        words: format!(
            "{words}. In {} of {} pairs of this family the outcomes differ.",
            number::count(pair.differing),
            number::count(pair.pairs)
        ),
        sides: [side("A", &pair.a), side("B", &pair.b)],
    }
}

/// Bytes that two texts have in common from their beginning, cut back to the end of a word.
fn shared_beginning(one: &str, other: &str) -> usize {
    if one == other {
        return one.len();
    }
    let same = one
        .char_indices()
        .zip(other.chars())
        .take_while(|((_, a), b)| a == b);
    let end = same
        .last()
        .map_or(0, |((place, character), _)| place + character.len_utf8());
    let whole_word = |text: &str| text[end..].chars().next().is_none_or(char::is_whitespace);
    if whole_word(one) && whole_word(other) {
        return end;
    }
    one[..end].rfind(char::is_whitespace).map_or(0, |space| {
        space + one[space..].chars().next().map_or(0, char::len_utf8)
    })
}

fn diverging(text: &str, shared: usize) -> Markup {
    let mut markup = String::from("<span class=\"same\">");
    escape_into(&mut markup, &shortened(&text[..shared], MOST_CHARACTERS));
    markup.push_str("</span>");
    let rest = shortened(&text[shared..], MOST_CHARACTERS);
    for (index, line) in rest.split('\n').enumerate() {
        if index > 0 {
            markup.push('\n');
        }
        if !line.is_empty() {
            markup.push_str("<mark>");
            escape_into(&mut markup, line);
            markup.push_str("</mark>");
        }
    }
    Markup::assembled(markup)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shared_beginning_ends_with_a_word() {
        for (one, other, shared) in [
            ("I bet now", "I bet later", "I bet "),
            ("I bet", "I bet more", "I bet"),
            ("betting", "bets", ""),
            ("same", "same", "same"),
            ("größer ja", "größer je", "größer "),
            ("", "x", ""),
        ] {
            assert_eq!(&one[..shared_beginning(one, other)], shared, "{one} / {other}");
        }
    }

    #[test]
    fn markup_in_responses_stays_text() {
        let view = diverging("ok <b>\n<script>x</script>", 3);
        assert_eq!(
            view.to_string(),
            "<span class=\"same\">ok </span><mark>&lt;b&gt;</mark>\n<mark>&lt;script&gt;x&lt;/script&gt;</mark>"
        );
    }
}
