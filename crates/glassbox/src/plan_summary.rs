//! What a run would cost, for the terminal.

use glassbox_experiment::estimate::PlanEstimate;

use crate::table::{bytes, count, duration, facts};

/// The plan in figures.
pub fn text(plan: &PlanEstimate) -> String {
    facts(&[
        (
            "select",
            format!("{} prompts, {} layers", count(plan.select_prompts), plan.layers),
        ),
        (
            "features",
            format!(
                "at most {}, and {} random-feature controls",
                count(plan.features),
                count(plan.controls)
            ),
        ),
        (
            "trials",
            format!(
                "at most {} on {} prompts",
                count(plan.trials),
                count(plan.sweep_prompts)
            ),
        ),
        (
            "replays",
            format!("at most {} for the pathways", count(plan.replays)),
        ),
        (
            "prompts",
            format!("{} tokens at most", count(plan.longest_prompt_tokens)),
        ),
        (
            "time",
            format!(
                "{} at most, at {} tokens/s as measured now",
                duration(plan.seconds_at_most),
                count(plan.tokens_per_second as u64)
            ),
        ),
        ("memory", format!("about {}", bytes(plan.memory_bytes))),
        ("disk", format!("at most {}", bytes(plan.disk_bytes))),
    ])
}
