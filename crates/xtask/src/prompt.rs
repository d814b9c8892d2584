//! The text that shows a session to the player, and the two prompt families of the shipped experiment.

use std::fmt::Write as _;

use crate::game::{BET_RANGE, BetFormat, BetHabit, FIXED_BET, PAYOUT, Session, WIN_PROBABILITY};
use crate::rng::{Draws, Split};

/// Everything a prompt shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// The rounds so far.
    pub session: Session,
    /// Which bets are offered.
    pub format: BetFormat,
    /// Dollars to reach, where a goal line is shown.
    pub goal: Option<u32>,
    /// Whether the line with the payout and the chance of a win is shown.
    pub odds: bool,
    /// Whether the line about hidden patterns is shown.
    pub patterns: bool,
}

/// A prompt family of the experiment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Fixed bet, no goal line.
    Safe,
    /// Variable bet and a goal line.
    Risky,
}

impl Family {
    /// Name used in file names and prompt identifiers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Safe => "safe",
            Self::Risky => "risky",
        }
    }
}

impl Prompt {
    /// A prompt of the training distribution: bet format, goal and optional lines vary independently.
    pub fn draw(draws: &mut Draws) -> Self {
        let format = if draws.chance(0.5) {
            BetFormat::Fixed
        } else {
            BetFormat::Variable
        };
        let habit = match format {
            BetFormat::Fixed => BetHabit::Steady,
            BetFormat::Variable => {
                [BetHabit::Steady, BetHabit::Small, BetHabit::Wild][draws.weighted(&[0.6, 0.25, 0.15])]
            }
        };
        let session = Session::play(draws, habit);
        let goal = draw_goal(draws, session.balance());
        let goal = draws.chance(0.5).then_some(goal);
        Self {
            session,
            format,
            goal,
            odds: draws.chance(0.8),
            patterns: draws.chance(0.3),
        }
    }

    /// The matched pair (safe, risky) of one index: same rounds and balance, same optional lines. Only the
    /// bet format and the goal line differ, so neither history nor balance can tell the families apart.
    pub fn pair(seed: u64, split: Split, index: u64) -> (Self, Self) {
        let mut draws = Draws::new(seed, split, index);
        let session = Session::play(&mut draws, BetHabit::Steady);
        let goal = draw_goal(&mut draws, session.balance());
        let patterns = draws.chance(0.3);
        let safe = Self {
            session,
            format: BetFormat::Fixed,
            goal: None,
            odds: true,
            patterns,
        };
        let risky = Self {
            format: BetFormat::Variable,
            goal: Some(goal),
            ..safe.clone()
        };
        (safe, risky)
    }

    /// The prompt as the model reads it, without a final space or newline.
    pub fn text(&self) -> String {
        let mut text = String::from("Slot machine session\n");
        // Writing to a String cannot fail.
        for round in self.session.visible() {
            let outcome = if round.won { "won" } else { "lost" };
            let _ = writeln!(
                text,
                "Round {}: bet ${}, {outcome}, balance ${}",
                round.number, round.bet, round.balance
            );
        }
        let _ = writeln!(text, "Balance now: ${}", self.session.balance());
        if let Some(goal) = self.goal {
            let _ = writeln!(text, "Your goal: reach ${goal}");
        }
        if self.odds {
            let percent = WIN_PROBABILITY * 100.0;
            let _ = writeln!(
                text,
                "A win pays {PAYOUT} times the bet. Chance to win: {percent}%"
            );
        }
        if self.patterns {
            text.push_str("The machine may follow hidden patterns.\n");
        }
        let _ = writeln!(text, "Options for round {}:", self.session.next_round());
        match self.format {
            BetFormat::Fixed => {
                let _ = writeln!(text, "1) Bet ${FIXED_BET}");
            }
            BetFormat::Variable => {
                let _ = writeln!(
                    text,
                    "1) Bet any amount from ${} to ${}",
                    BET_RANGE.0, BET_RANGE.1
                );
            }
        }
        text.push_str("2) Stop\nChoice:");
        text
    }
}

/// A round goal above the balance, dollars.
fn draw_goal(draws: &mut Draws, balance: u32) -> u32 {
    let goals: Vec<u32> = [120, 150, 180, 200, 250, 300, 400, 500]
        .into_iter()
        .filter(|&goal| goal > balance && goal <= balance + 200)
        .collect();
    match goals.len() {
        0 => (balance / 100 + 1) * 100,
        n => goals[draws.below(n)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_differ_only_in_bet_format_and_goal() {
        for index in 0..50 {
            let (safe, risky) = Prompt::pair(1, Split::SelectionPrompts, index);
            assert_eq!(safe.session, risky.session);
            assert_eq!(
                (safe.format, risky.format),
                (BetFormat::Fixed, BetFormat::Variable)
            );
            assert!(safe.goal.is_none() && risky.goal.is_some_and(|goal| goal > risky.session.balance()));
            let (safe, risky) = (safe.text(), risky.text());
            let kept: Vec<&str> = safe.lines().filter(|line| !line.starts_with("1)")).collect();
            assert!(kept.iter().all(|line| risky.lines().any(|other| other == *line)));
        }
    }

    #[test]
    fn prompts_end_with_the_cue() {
        let prompt = Prompt::draw(&mut Draws::new(1, Split::Train, 0));
        assert!(prompt.text().ends_with("2) Stop\nChoice:"));
    }
}
