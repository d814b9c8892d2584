//! One self-contained HTML file that shows what a run found, and what would make it wrong.
//!
//! What lives here: reading the tables of a run ([`ReportData`]), figures as SVG, sections, templates, and the finding in plain words;
//! and the pages of the analyses of trial logs ([`render_audit`], [`render_causal`], [`render_words`]), which share page, figures and tables.
//! The page holds its style and its few lines of script, loads nothing, works without scripts, in light, dark and print, and holds no
//! time or duration: equal tables give equal bytes.
//!
//! What must not live here: statistics beyond counting and ranking what the tables hold (glassbox-stats), decisions about what counts as
//! an effect (glassbox-experiment), and anything that runs a model.
//!
//! ```text
//! run directory → data → finding, sections (→ figures, tables) → page
//! analysis of trial logs → sections (→ figures, tables) → page
//! ```

pub mod data;
mod error;
mod figures;
mod finding;
mod html_table;
mod logs;
mod markup;
mod number;
mod page;
mod report;
mod scale;
mod sections;
mod svg;
mod verdicts;

pub use data::ReportData;
pub use error::ReportError;
pub use logs::{render_audit, render_causal, render_words};
pub use report::{ReportSummary, render, render_run, write_report};
