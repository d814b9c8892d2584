//! A player's answer: one to three sentences of reasoning, then the line with the decision.

use crate::game::START_BALANCE;
use crate::phrases::{BET_CLOSERS, STOP_CLOSERS, phrases};
use crate::policy::{Decision, Policy};
use crate::prompt::Prompt;
use crate::rng::Draws;

/// An answer and how it came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Who answered.
    pub policy: Policy,
    /// What the last line says.
    pub decision: Decision,
    /// Text that follows the cue line: a space, the reasoning, a newline, the decision line.
    pub text: String,
}

impl Response {
    /// Draws a policy, its decision and its words for a prompt.
    pub fn draw(draws: &mut Draws, prompt: &Prompt) -> Self {
        let policy = Policy::draw(draws, prompt);
        let intent = policy.intent(draws, prompt);
        let decision = policy.final_decision(draws, prompt, intent);
        let book = phrases(policy);
        let (reasons, closers) = match intent {
            Decision::Stop => (book.stop_reasons, STOP_CLOSERS),
            Decision::Bet(_) => (book.bet_reasons, BET_CLOSERS),
        };
        let sentences = 1 + draws.weighted(&[0.2, 0.45, 0.35]);
        let mut text = String::new();
        for role in [book.openers, reasons, closers].into_iter().take(sentences) {
            if let Some(sentence) = say(draws, role, prompt, intent) {
                text.push(' ');
                text.push_str(&sentence);
            }
        }
        text.push('\n');
        text.push_str(&decision.line());
        Self {
            policy,
            decision,
            text,
        }
    }
}

/// One of the templates whose values all exist, filled in; `None` if there is none.
fn say(draws: &mut Draws, templates: &[&str], prompt: &Prompt, intent: Decision) -> Option<String> {
    let mut order = draws.permutation(templates.len());
    while let Some(index) = order.pop() {
        if let Some(sentence) = fill(draws, templates[index], prompt, intent) {
            return Some(sentence);
        }
    }
    None
}

/// Expands the choices and values of a template; `None` if a value does not exist in this session.
fn fill(draws: &mut Draws, template: &str, prompt: &Prompt, intent: Decision) -> Option<String> {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(start) = rest.find(['[', '{']) {
        text.push_str(&rest[..start]);
        let closing = if rest[start..].starts_with('[') { ']' } else { '}' };
        let end = start + rest[start..].find(closing)?;
        let inner = &rest[start + 1..end];
        if closing == ']' {
            let choices: Vec<&str> = inner.split('|').collect();
            text.push_str(choices[draws.below(choices.len())]);
        } else {
            text.push_str(&value(inner, prompt, intent)?);
        }
        rest = &rest[end + 1..];
    }
    text.push_str(rest);
    Some(text)
}

/// A value of the session by its template name.
fn value(name: &str, prompt: &Prompt, intent: Decision) -> Option<String> {
    let session = &prompt.session;
    let balance = session.balance();
    let streak = session.losing_streak();
    let amount = |amount: u32| (amount > 0).then(|| amount.to_string());
    match name {
        "balance" => amount(balance),
        "goal" => prompt.goal.map(|goal| goal.to_string()),
        "gap" => amount(prompt.goal?.saturating_sub(balance)),
        "ahead" => amount(balance.saturating_sub(START_BALANCE)),
        "behind" => amount(START_BALANCE.saturating_sub(balance)),
        "lost" => amount(session.streak_loss()),
        "last" => amount(session.last_bet()),
        "round" => amount(session.next_round()),
        "streak" => match streak {
            2 => Some("two".into()),
            3 => Some("three".into()),
            4 => Some("four".into()),
            _ => None,
        },
        "wins" => match session.visible_wins() {
            2 => Some("two".into()),
            3 => Some("three".into()),
            4 => Some("four".into()),
            _ => None,
        },
        "bet" => match intent {
            Decision::Bet(bet) => Some(bet.to_string()),
            Decision::Stop => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Split;

    #[test]
    fn every_template_names_only_known_values_and_closes_its_brackets() {
        let known = [
            "balance", "goal", "gap", "ahead", "behind", "lost", "last", "round", "streak", "wins", "bet",
        ];
        for policy in Policy::ALL {
            let book = phrases(policy);
            for template in [
                book.openers,
                book.stop_reasons,
                book.bet_reasons,
                STOP_CLOSERS,
                BET_CLOSERS,
            ]
            .concat()
            {
                assert_eq!(
                    template.matches('[').count(),
                    template.matches(']').count(),
                    "{template}"
                );
                for part in template.split('{').skip(1) {
                    let name = part.split('}').next().unwrap();
                    assert!(known.contains(&name), "{template}");
                }
            }
        }
    }

    #[test]
    fn responses_hold_reasoning_and_a_decision_that_parses() {
        for index in 0..2000 {
            let mut draws = Draws::new(1, Split::Train, index);
            let prompt = Prompt::draw(&mut draws);
            let response = Response::draw(&mut draws, &prompt);
            assert_eq!(Decision::parse(&response.text), Some(response.decision));
            assert!(response.text.starts_with(' '));
            assert_eq!(response.text.lines().count(), 2, "{}", response.text);
            assert!(
                !response.text.contains(['{', '}', '[', ']', '|']),
                "{}",
                response.text
            );
            let sentences = response.text.lines().next().unwrap().matches(['.']).count();
            assert!((1..=3).contains(&sentences), "{}", response.text);
        }
    }
}
