//! Checks of a scenario that its types alone cannot make.

use crate::error::ExperimentError;
use crate::feature_name::parse_feature_names;
use crate::scenario::{RecordFeatures, Scenario, SelectionRank};
use glassbox_outcome::UNKNOWN;

impl Scenario {
    /// Checks what types alone can't.
    ///
    /// # Errors
    /// [`ExperimentError::Scenario`] or the parser's errors.
    pub fn check(&self) -> Result<(), ExperimentError> {
        let wrong = |what: String| {
            Err(ExperimentError::Scenario {
                file: self.folder.clone(),
                what,
            })
        };
        if self.families.len() != 2 {
            return wrong(format!(
                "needs exactly two [[families]], found {}",
                self.families.len()
            ));
        }
        if self.families[0].name == self.families[1].name {
            return wrong(format!("both families are named '{}'", self.families[0].name));
        }
        for family in &self.families {
            let files = family.select_prompts.is_some() && family.sweep_prompts.is_some();
            if files == family.prompt.is_some()
                || family.select_prompts.is_some() != family.sweep_prompts.is_some()
            {
                return wrong(format!(
                    "family '{}' needs either prompt = \"…\" or both select_prompts and sweep_prompts",
                    family.name
                ));
            }
        }
        if self.outcome.choices.iter().any(|choice| choice == UNKNOWN) {
            return wrong("outcome.choices must not list 'unknown': it is always possible besides".into());
        }
        if !self.outcome.choices.contains(&self.outcome.target) {
            return wrong(format!(
                "outcome.target '{}' is not among outcome.choices: {}",
                self.outcome.target,
                self.outcome.choices.join(", ")
            ));
        }
        for (name, value) in [
            ("select.alpha", self.select.alpha),
            ("causal.alpha", self.causal.alpha),
            ("pathways.alpha", self.pathways.alpha),
            ("words.alpha", self.words.alpha),
        ] {
            if !(value > 0.0 && value < 1.0) {
                return wrong(format!("{name} is {value}, it must lie between 0 and 1"));
            }
        }
        for (name, value) in [
            ("select.top_per_layer", self.select.top_per_layer),
            ("select.max_prompts", self.select.max_prompts),
            ("sweep.trials", self.sweep.trials as usize),
            ("sweep.max_prompts", self.sweep.max_prompts),
            ("sweep.max_new_tokens", self.sweep.max_new_tokens),
            ("sweep.batch_rows", self.sweep.batch_rows),
            ("sweep.unit_trials", self.sweep.unit_trials),
            ("pathways.trials", self.pathways.trials as usize),
            ("pathways.max_prompts", self.pathways.max_prompts),
        ] {
            if value == 0 {
                return wrong(format!("{name} is 0, it must be at least 1"));
            }
        }
        if !(self.sweep.temperature >= 0.0 && self.sweep.temperature.is_finite()) {
            return wrong(format!(
                "sweep.temperature is {}, it must be 0 or more",
                self.sweep.temperature
            ));
        }
        if self.sweep.temperature == 0.0 && (self.sweep.trials > 1 || self.pathways.trials > 1) {
            return wrong(
                "sweep.temperature is 0, so all trials of a prompt are the same: set sweep.trials = 1 and \
                 pathways.trials = 1, or a temperature above 0"
                    .into(),
            );
        }
        let listed = self.sweep.record == RecordFeatures::Listed;
        if listed == self.sweep.recorded_features.is_empty() {
            return wrong(
                "sweep.recorded_features goes with sweep.record = \"listed\": give both, or neither".into(),
            );
        }
        parse_feature_names("sweep", &self.sweep.recorded_features)?;
        parse_feature_names("select", &self.select.features)?;
        if !(self.sweep.top_p > 0.0 && self.sweep.top_p <= 1.0) {
            return wrong(format!(
                "sweep.top_p is {}, it must lie in (0, 1]",
                self.sweep.top_p
            ));
        }
        if !(0.0..=100.0).contains(&self.causal.control_percentile) {
            return wrong(format!(
                "causal.control_percentile is {}, it must lie in 0 to 100",
                self.causal.control_percentile
            ));
        }
        if !(self.causal.smallest_effect_of_interest > 0.0 && self.causal.smallest_effect_of_interest <= 1.0)
        {
            return wrong(format!(
                "causal.smallest_effect_of_interest is {}, it must lie in (0, 1]",
                self.causal.smallest_effect_of_interest
            ));
        }
        if !(0.0..=1.0).contains(&self.causal.max_unknown_share) {
            return wrong(format!(
                "causal.max_unknown_share is {}, it must lie in 0 to 1",
                self.causal.max_unknown_share
            ));
        }
        for (name, value, most) in [
            ("sweep.trials", u64::from(self.sweep.trials), 1_000_000),
            ("pathways.trials", u64::from(self.pathways.trials), 1_000_000),
            (
                "sweep.max_new_tokens",
                self.sweep.max_new_tokens as u64,
                1_000_000,
            ),
            ("sweep.batch_rows", self.sweep.batch_rows as u64, 65_536),
            ("sweep.top_logits", self.sweep.top_logits as u64, 10_000),
            (
                "sweep.controls_per_feature",
                self.sweep.controls_per_feature as u64,
                1000,
            ),
            (
                "select.top_per_layer",
                self.select.top_per_layer as u64,
                1_000_000,
            ),
            (
                "causal.permutations",
                u64::from(self.causal.permutations),
                100_000,
            ),
        ] {
            if value > most {
                return wrong(format!("{name} is {value}, it must be at most {most}"));
            }
        }
        if !(0.0..=1.0).contains(&self.pathways.min_active_share) {
            return wrong(format!(
                "pathways.min_active_share is {}, it must lie in 0 to 1",
                self.pathways.min_active_share
            ));
        }
        if self.select.rank_by == SelectionRank::Attribution && self.decision.is_none() {
            return wrong(
                "select.rank_by is \"attribution\", which ranks by the effect on the decision's log-odds: add a [decision] section"
                    .into(),
            );
        }
        if let Some(decision) = &self.decision
            && let Err(what) = decision.check(&self.outcome.choices, &self.outcome.target)
        {
            return wrong(what);
        }
        if let Err(error) = regex::Regex::new(&self.words.pattern) {
            return wrong(format!("words.pattern is no regular expression: {error}"));
        }
        self.compiled_parser().map(|_| ())
    }
}
