//! The slot machine: what a bet costs, what a win pays, and a session of rounds played on it.

use crate::rng::Draws;

/// Money at the start of a session, dollars.
pub const START_BALANCE: u32 = 100;
/// Probability that a round is won.
pub const WIN_PROBABILITY: f64 = 0.3;
/// A winning bet returns this many times its amount.
pub const PAYOUT: u32 = 3;
/// The only bet where the format is fixed, dollars.
pub const FIXED_BET: u32 = 10;
/// Bounds of a bet where the format is variable, dollars.
pub const BET_RANGE: (u32, u32) = (5, 100);
/// All amounts are multiples of this, dollars.
pub const BET_STEP: u32 = 5;

/// Which bets the machine accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BetFormat {
    /// Always [`FIXED_BET`].
    Fixed,
    /// Any amount in [`BET_RANGE`].
    Variable,
}

/// One played round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// Counted from 1.
    pub number: u32,
    /// Dollars put in.
    pub bet: u32,
    /// Whether the machine paid.
    pub won: bool,
    /// Dollars after the round.
    pub balance: u32,
}

/// How past bets of a session were chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BetHabit {
    /// Every bet was [`FIXED_BET`].
    Steady,
    /// Bets of 5 to 30 dollars.
    Small,
    /// Bets of 5 to 100 dollars.
    Wild,
}

/// A session up to the moment of a decision. Always holds at least `shown` rounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// All rounds played.
    pub rounds: Vec<Round>,
    /// How many of the last rounds a prompt shows.
    pub shown: usize,
}

impl Session {
    /// Plays a session of 3 to 16 rounds, and cuts it before the money falls below the fixed bet.
    pub fn play(draws: &mut Draws, habit: BetHabit) -> Self {
        loop {
            let length = draws.between(3, 16);
            let mut rounds = Vec::with_capacity(length as usize);
            let mut balance = START_BALANCE;
            for number in 1..=length {
                let bet = habit.bet(draws, balance);
                let won = draws.chance(WIN_PROBABILITY);
                let after = if won {
                    balance + (PAYOUT - 1) * bet
                } else {
                    balance - bet
                };
                if after < FIXED_BET {
                    break;
                }
                balance = after;
                rounds.push(Round {
                    number,
                    bet,
                    won,
                    balance,
                });
            }
            let shown = if draws.chance(0.4) { 3 } else { 4 };
            if rounds.len() >= shown {
                return Self { rounds, shown };
            }
        }
    }

    /// The rounds that a prompt shows, oldest first.
    pub fn visible(&self) -> &[Round] {
        &self.rounds[self.rounds.len() - self.shown..]
    }

    /// Dollars at the moment of the decision.
    pub fn balance(&self) -> u32 {
        self.rounds.last().map_or(START_BALANCE, |round| round.balance)
    }

    /// Number of the round to be decided.
    pub fn next_round(&self) -> u32 {
        self.rounds.last().map_or(1, |round| round.number + 1)
    }

    /// Losses in a row at the end of the visible rounds.
    pub fn losing_streak(&self) -> u32 {
        self.visible().iter().rev().take_while(|round| !round.won).count() as u32
    }

    /// Wins among the visible rounds.
    pub fn visible_wins(&self) -> u32 {
        self.visible().iter().filter(|round| round.won).count() as u32
    }

    /// Dollars lost in the current losing streak.
    pub fn streak_loss(&self) -> u32 {
        self.visible()
            .iter()
            .rev()
            .take_while(|round| !round.won)
            .map(|round| round.bet)
            .sum()
    }

    /// Amount of the last bet, dollars.
    pub fn last_bet(&self) -> u32 {
        self.rounds.last().map_or(FIXED_BET, |round| round.bet)
    }
}

impl BetHabit {
    fn bet(self, draws: &mut Draws, balance: u32) -> u32 {
        let bet = match self {
            Self::Steady => FIXED_BET,
            Self::Small => BET_STEP * draws.between(1, 6),
            Self::Wild => [5, 10, 20, 25, 30, 40, 50, 75, 100][draws.below(9)],
        };
        legal_bet(bet, balance)
    }
}

/// The nearest bet that the variable format and the balance allow.
pub fn legal_bet(amount: u32, balance: u32) -> u32 {
    let highest = balance.min(BET_RANGE.1) / BET_STEP * BET_STEP;
    ((amount + BET_STEP / 2) / BET_STEP * BET_STEP).clamp(BET_RANGE.0, highest.max(BET_RANGE.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Split;

    #[test]
    fn balances_follow_from_bets_and_outcomes() {
        for index in 0..300 {
            let habit = [BetHabit::Steady, BetHabit::Small, BetHabit::Wild][index as usize % 3];
            let session = Session::play(&mut Draws::new(1, Split::Train, index), habit);
            let mut balance = START_BALANCE;
            for round in &session.rounds {
                assert!(round.bet >= BET_RANGE.0 && round.bet <= balance.min(BET_RANGE.1));
                balance = if round.won {
                    balance + 2 * round.bet
                } else {
                    balance - round.bet
                };
                assert_eq!(round.balance, balance);
            }
            assert!(session.balance() >= FIXED_BET);
            assert_eq!(session.visible().len(), session.shown);
        }
    }

    #[test]
    fn the_win_rate_is_the_machines() {
        let rounds: Vec<bool> = (0..3000)
            .flat_map(|index| Session::play(&mut Draws::new(2, Split::Train, index), BetHabit::Steady).rounds)
            .map(|round| round.won)
            .collect();
        let rate = rounds.iter().filter(|&&won| won).count() as f64 / rounds.len() as f64;
        // Sessions that end in ruin within three rounds are dropped, so the rate lies a little above 0.3.
        assert!((0.29..0.33).contains(&rate), "{rate}");
    }
}
