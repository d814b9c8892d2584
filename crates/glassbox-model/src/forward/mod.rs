//! The forward pass: one sequence of coarse operations, with a named site at every point where values can be seen and
//! edited.

mod block;
mod check;
mod diagnose;
mod hooks;
mod layout;
mod pass;
mod request;
mod rotary_tables;
mod workspace;

pub use hooks::{SiteView, SiteVisitor};
pub use layout::PassLayout;
pub(crate) use pass::PassExtras;
pub use request::{ForwardOutput, ForwardRequest, LogitPosition, LogitPositions, Logits, Residual, Start};
pub(crate) use request::{PassProgram, Resume};
pub(crate) use rotary_tables::RotaryTables;
pub use workspace::Workspace;
pub(crate) use workspace::grow;
