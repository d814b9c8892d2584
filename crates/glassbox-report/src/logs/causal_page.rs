//! The page of an analysis of causal effects.

use glassbox_log_effects::CausalAnalysis;

use super::causal_conditions;
use super::causal_doses;
use super::causal_features;
use super::causal_layers;
use super::causal_method;
use super::causal_summary;
use crate::ReportError;
use crate::page::{Section, page};

/// Puts the page of an analysis together. `title` says which logs it is of. Equal analyses give equal bytes.
///
/// # Errors
/// [`ReportError::Template`].
pub fn render_causal(analysis: &CausalAnalysis, title: &str) -> Result<String, ReportError> {
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
        causal_summary::body(analysis),
    )];
    if !analysis.measures.is_empty() {
        sections.push(section(
            "features",
            "Effect of each feature",
            "Features",
            causal_features::body(analysis)?,
        ));
        sections.push(section(
            "layers",
            "Effects by layer",
            "Layers",
            causal_layers::body(analysis)?,
        ));
    }
    if analysis.conditions.iter().any(|row| row.dose.is_none()) {
        sections.push(section(
            "conditions",
            "Behaviour under every condition",
            "Conditions",
            causal_conditions::body(analysis)?,
        ));
    }
    if analysis.conditions.iter().any(|row| row.dose.is_some()) {
        sections.push(section(
            "doses",
            "Behaviour over doses",
            "Doses",
            causal_doses::body(analysis),
        ));
    }
    if let Some(study) = &analysis.study {
        sections.push(section(
            "study",
            "The slot-machine study’s own criterion",
            "Study criterion",
            causal_method::study(study)?,
        ));
    }
    if !analysis.reported.is_empty() {
        sections.push(section(
            "stated",
            "Effects that files state without counts",
            "Stated effects",
            causal_method::stated(analysis)?,
        ));
    }
    sections.push(section(
        "method",
        "How it was computed",
        "Method",
        causal_method::body(analysis)?,
    ));
    page(
        title,
        "Causal effects from trial logs",
        &sections,
        env!("CARGO_PKG_VERSION"),
    )
}
