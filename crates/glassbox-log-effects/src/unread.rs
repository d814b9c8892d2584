//! What of the logs could not be read, in sentences.

use glassbox_logs::{FileReport, ReadReport};

/// Files that are named at most.
const NAMED: usize = 3;

/// What could not be read, with its first places; empty if all could.
pub(crate) fn unread(report: &ReadReport) -> Vec<String> {
    let mut sentences: Vec<String> = report
        .absent
        .iter()
        .map(|(path, why)| format!("{} is not read: {why}.", path.display()))
        .collect();
    let damaged: Vec<&FileReport> = report.files.iter().filter(|file| file.unusable > 0).collect();
    sentences.extend(damaged.iter().take(NAMED).map(|file| {
        let first = file
            .first_problems
            .first()
            .map_or_else(String::new, |problem| format!(", the first: {problem}"));
        let rows = match file.unusable {
            1 => "1 row".to_owned(),
            more => format!("{more} rows"),
        };
        format!(
            "{rows} of {} cannot be used{first}. The others count.",
            file.path.display()
        )
    }));
    let more = damaged.len().saturating_sub(NAMED);
    if more > 0 {
        sentences.push(format!(
            "{more} more files have rows that cannot be used; `glassbox audit` names them."
        ));
    }
    sentences
}

/// Why nothing is left to analyse, and what to do: the end of a message.
pub(crate) fn why_nothing(report: &ReadReport) -> String {
    let sentences = unread(report).join(" ").replace(" The others count.", "");
    let gap = if sentences.is_empty() { "" } else { ". " };
    format!(
        "{gap}{}; `glassbox audit` says what the logs hold",
        sentences.trim_end_matches('.')
    )
}
