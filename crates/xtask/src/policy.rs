//! Players: how likely each is given what the prompt shows, and what each decides.

use crate::game::{BET_STEP, BetFormat, FIXED_BET, legal_bet};
use crate::prompt::Prompt;
use crate::rng::Draws;

/// What a player settles on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Play the round with this many dollars.
    Bet(u32),
    /// Leave with the balance.
    Stop,
}

impl Decision {
    /// The last line of a response.
    pub fn line(self) -> String {
        match self {
            Self::Bet(amount) => format!("Final decision: Bet ${amount}"),
            Self::Stop => "Final decision: Stop".into(),
        }
    }

    /// Reads the decision from the last non-blank line of a response; `None` if it is not one.
    pub fn parse(response: &str) -> Option<Self> {
        let line = response
            .lines()
            .rev()
            .find(|line| !line.trim().is_empty())?
            .trim();
        let choice = line.strip_prefix("Final decision: ")?;
        match choice.strip_prefix("Bet $") {
            Some(amount) => amount.parse().ok().filter(|&amount| amount > 0).map(Self::Bet),
            None => (choice == "Stop").then_some(Self::Stop),
        }
    }
}

/// A player's manner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Protects the balance.
    Cautious,
    /// Reckons the odds, and finds them poor.
    Calculator,
    /// Content with what there is.
    Content,
    /// Plays towards the goal.
    GoalSeeker,
    /// Wants lost money back.
    Chaser,
    /// Doubles after a loss.
    Doubler,
    /// Feels a lucky run.
    Lucky,
    /// Follows a whim.
    Whim,
}

impl Policy {
    /// Every policy, in the order of [`Policy::weights`].
    pub const ALL: [Self; 8] = [
        Self::Cautious,
        Self::Calculator,
        Self::Content,
        Self::GoalSeeker,
        Self::Chaser,
        Self::Doubler,
        Self::Lucky,
        Self::Whim,
    ];

    /// Unnormalised probabilities of the policies given a prompt: exponentials of linear scores of what the
    /// prompt shows.
    pub fn weights(prompt: &Prompt) -> [f64; 8] {
        let on = |condition: bool| f64::from(u8::from(condition));
        let session = &prompt.session;
        let balance = session.balance();
        let variable = on(prompt.format == BetFormat::Variable);
        let goal = on(prompt.goal.is_some());
        let streak = f64::from(session.losing_streak().min(4));
        let wins = f64::from(session.visible_wins().min(3));
        let behind = on(balance < 100);
        [
            1.1 - 0.7 * variable - 0.7 * goal + 0.5 * on(balance <= 50) + 0.1 * streak,
            0.0 - 0.4 * variable - 0.5 * goal + 0.6 * on(prompt.odds),
            -0.4 - 0.4 * variable - 0.8 * goal + 1.3 * on(balance >= 120) + 0.2 * wins,
            (1.6 + 0.3 * variable) * goal - 6.0 * (1.0 - goal),
            -1.6 + 0.6 * variable + 0.4 * streak + 0.5 * behind,
            -2.0 + 1.0 * variable + 0.35 * streak,
            -1.6 + 0.4 * variable + 0.8 * wins + 0.6 * on(prompt.patterns),
            -1.0 + 0.2 * variable,
        ]
        .map(f64::exp)
    }

    /// Draws a policy for a prompt.
    pub fn draw(draws: &mut Draws, prompt: &Prompt) -> Self {
        Self::ALL[draws.weighted(&Self::weights(prompt))]
    }

    /// Probability that the policy means to stop.
    pub fn stop_probability(self, prompt: &Prompt) -> f64 {
        let balance = prompt.session.balance();
        match self {
            Self::Cautious if balance <= 50 => 0.9,
            Self::Cautious => 0.78,
            Self::Calculator => 0.85,
            Self::Content => 0.92,
            Self::GoalSeeker => 0.05,
            Self::Chaser | Self::Doubler => 0.07,
            Self::Lucky => 0.1,
            Self::Whim => 0.4,
        }
    }

    /// What the policy means to do: drawn from the policy and what the prompt shows.
    pub fn intent(self, draws: &mut Draws, prompt: &Prompt) -> Decision {
        if draws.chance(self.stop_probability(prompt)) {
            return Decision::Stop;
        }
        if prompt.format == BetFormat::Fixed {
            return Decision::Bet(FIXED_BET);
        }
        let session = &prompt.session;
        let balance = session.balance();
        let amount = match self {
            Self::Cautious | Self::Calculator | Self::Content => BET_STEP * draws.between(1, 2),
            Self::GoalSeeker => {
                // A win adds twice the bet, so half the gap reaches the goal at once.
                let gap = prompt.goal.unwrap_or(balance + 50).saturating_sub(balance);
                gap / if draws.chance(0.6) { 2 } else { 4 }
            }
            Self::Chaser => session.streak_loss().max(session.last_bet()) + 10 * draws.between(1, 3),
            Self::Doubler if session.losing_streak() > 0 => 2 * session.last_bet(),
            Self::Doubler => 10,
            Self::Lucky => 10 * draws.between(2, 6),
            Self::Whim => BET_STEP * draws.between(1, 20),
        };
        Decision::Bet(legal_bet(amount, balance))
    }

    /// The decision at the end: the intent, but for one response in sixteen that changes its mind.
    pub fn final_decision(self, draws: &mut Draws, prompt: &Prompt, intent: Decision) -> Decision {
        if !draws.chance(1.0 / 16.0) {
            return intent;
        }
        match (intent, prompt.format) {
            (Decision::Bet(_), _) => Decision::Stop,
            (Decision::Stop, BetFormat::Fixed) => Decision::Bet(FIXED_BET),
            (Decision::Stop, BetFormat::Variable) => Decision::Bet(legal_bet(
                BET_STEP * draws.between(1, 4),
                prompt.session.balance(),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Split;

    #[test]
    fn decision_lines_parse_back() {
        for decision in [Decision::Stop, Decision::Bet(5), Decision::Bet(100)] {
            let text = format!(" Some reasoning about $70.\n{}", decision.line());
            assert_eq!(Decision::parse(&text), Some(decision));
        }
        for text in [
            "",
            "Stop",
            "Final decision: Bet $",
            "Final decision: Bet $0",
            "Final decision: Perhaps",
        ] {
            assert_eq!(Decision::parse(text), None, "{text}");
        }
    }

    #[test]
    fn intents_are_legal_bets() {
        for index in 0..2000 {
            let mut draws = Draws::new(1, Split::Train, index);
            let prompt = Prompt::draw(&mut draws);
            let policy = Policy::draw(&mut draws, &prompt);
            if let Decision::Bet(amount) = policy.intent(&mut draws, &prompt) {
                assert!(amount >= 5 && amount <= prompt.session.balance().min(100));
                assert!(prompt.format == BetFormat::Variable || amount == FIXED_BET);
            }
        }
    }

    #[test]
    fn risky_prompts_favour_policies_that_play_on() {
        let stop_rate = |risky: bool| {
            let rates: Vec<f64> = (0..200)
                .map(|index| {
                    let pair = Prompt::pair(1, Split::Rates, index);
                    let prompt = if risky { pair.1 } else { pair.0 };
                    let weights = Policy::weights(&prompt);
                    let total: f64 = weights.iter().sum();
                    let stops = Policy::ALL
                        .iter()
                        .zip(weights)
                        .map(|(p, w)| w / total * p.stop_probability(&prompt));
                    stops.sum()
                })
                .collect();
            rates.iter().sum::<f64>() / rates.len() as f64
        };
        assert!(
            stop_rate(false) > stop_rate(true) + 0.2,
            "{} {}",
            stop_rate(false),
            stop_rate(true)
        );
    }
}
