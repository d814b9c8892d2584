//! Which shard a process does: from flags, else from what a cluster's scheduler sets.

use std::ffi::OsString;

use glassbox_store::SweepShard;

use crate::arguments::SweepArguments;
use crate::error::CliError;

const SLURM_INDEX: &str = "SLURM_ARRAY_TASK_ID";
const SLURM_COUNT: &str = "SLURM_ARRAY_TASK_COUNT";
const SLURM_FIRST: &str = "SLURM_ARRAY_TASK_MIN";
const SLURM_LAST: &str = "SLURM_ARRAY_TASK_MAX";
const KUBERNETES_INDEX: &str = "JOB_COMPLETION_INDEX";

/// The shard of this process; `None` if it does the whole sweep.
///
/// Flags win. Without an index among them it is that of the array task (SLURM) or of the indexed job (Kubernetes). The number
/// of shards comes from the flag, or from SLURM if the array runs from 0 without gaps: a task that is run again alone
/// would otherwise take itself for the only one.
///
/// # Errors
/// [`CliError::Usage`] for an index without a number of shards or the reverse, for an index beyond it, and for
/// variables that are no numbers or contradict one another.
pub fn shard(
    arguments: &SweepArguments,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Option<SweepShard>, CliError> {
    if arguments.plan_only {
        return Ok(None);
    }
    if arguments.shard.is_some() {
        return Ok(arguments.shard);
    }
    let number = |name: &'static str| match variable(name).filter(|text| !text.is_empty()) {
        None => Ok(None),
        Some(text) => text.to_string_lossy().parse::<u32>().map(Some).map_err(|_| {
            CliError::usage_with_hint(
                format!("{name} is '{}', a whole number was expected", text.display()),
                "give --shard i/n, with i from 0 to n − 1",
            )
        }),
    };
    let (index, source) = match arguments.shard_index {
        Some(index) => (Some(index), "--shard-index"),
        None => match (number(SLURM_INDEX)?, number(KUBERNETES_INDEX)?) {
            (Some(slurm), Some(kubernetes)) if slurm != kubernetes => {
                return Err(CliError::usage_with_hint(
                    format!("{SLURM_INDEX} is {slurm} and {KUBERNETES_INDEX} is {kubernetes}"),
                    "give --shard i/n, with i from 0 to n − 1",
                ));
            }
            (Some(slurm), _) => (Some(slurm), SLURM_INDEX),
            (None, kubernetes) => (kubernetes, KUBERNETES_INDEX),
        },
    };
    let Some(index) = index else {
        return match arguments.shard_count {
            None => Ok(None),
            Some(count) => Err(CliError::usage_with_hint(
                format!("--shard-count {count} needs the index of this shard"),
                format!("give --shard-index, or run where {SLURM_INDEX} or {KUBERNETES_INDEX} is set"),
            )),
        };
    };
    let count = match arguments.shard_count {
        Some(count) => count,
        None => {
            let array = (number(SLURM_COUNT)?, number(SLURM_FIRST)?, number(SLURM_LAST)?);
            match array {
                (Some(count), Some(0), Some(last))
                    if source == SLURM_INDEX && last.checked_add(1) == Some(count) =>
                {
                    count
                }
                _ => {
                    return Err(CliError::usage_with_hint(
                        format!("this is shard {index} by {source}, but the number of shards is not known"),
                        "give --shard-count, the same in every process",
                    ));
                }
            }
        }
    };
    match SweepShard::new(index, count) {
        Ok(shard) => Ok(Some(shard)),
        Err(error) => Err(CliError::usage_with_hint(
            format!("{error} (the index is from {source})"),
            "an array of n tasks runs from 0 to n − 1: --array=0-15 with --shard-count 16",
        )),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::arguments::{Arguments, Verb};

    fn chosen(flags: &[&str], variables: &[(&str, &str)]) -> Result<Option<SweepShard>, String> {
        let command = [&["glassbox", "sweep", "s.toml", "--out", "o"], flags].concat();
        let parsed = Arguments::try_parse_from(command).map_err(|error| error.to_string())?;
        let Verb::Sweep(arguments) = parsed.verb else {
            return Err("another verb".into());
        };
        let variable = |name: &str| {
            variables
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| OsString::from(*value))
        };
        shard(&arguments, variable).map_err(|error| format!("{} {:?}", error.message(), error.hint()))
    }

    const ARRAY: [(&str, &str); 4] = [
        (SLURM_INDEX, "3"),
        (SLURM_COUNT, "16"),
        (SLURM_FIRST, "0"),
        (SLURM_LAST, "15"),
    ];

    fn of(index: u32, count: u32) -> Result<Option<SweepShard>, String> {
        Ok(Some(SweepShard::new(index, count).unwrap()))
    }

    #[test]
    fn flags_win_and_schedulers_fill_in() {
        assert_eq!(chosen(&[], &[]), Ok(None));
        assert_eq!(chosen(&["--shard", "2/4"], &ARRAY), of(2, 4));
        assert_eq!(
            chosen(&["--shard-index", "2", "--shard-count", "4"], &ARRAY),
            of(2, 4)
        );
        assert_eq!(chosen(&["--shard-count", "20"], &ARRAY), of(3, 20));
        assert_eq!(chosen(&[], &ARRAY), of(3, 16));
        assert_eq!(
            chosen(&["--shard-count", "4"], &[(KUBERNETES_INDEX, "0")]),
            of(0, 4)
        );
        assert_eq!(chosen(&["--plan-only"], &ARRAY), Ok(None));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_a_remedy() {
        let refused = |flags: &[&str], variables: &[(&str, &str)], words: &[&str]| {
            let error = chosen(flags, variables).unwrap_err();
            for word in words {
                assert!(error.contains(word), "`{word}` is not in: {error}");
            }
        };
        refused(&["--shard", "4/4"], &[], &["4/4", "0/4"]);
        refused(
            &["--shard", "1/4", "--shard-count", "4"],
            &[],
            &["cannot be used with"],
        );
        refused(&["--shard-index", "1"], &[], &["--shard-count"]);
        refused(&["--shard-count", "4"], &[], &[SLURM_INDEX, KUBERNETES_INDEX]);
        refused(
            &[],
            &[(KUBERNETES_INDEX, "1")],
            &[KUBERNETES_INDEX, "--shard-count"],
        );
        refused(&[], &[(SLURM_INDEX, "x")], &[SLURM_INDEX, "'x'"]);
        refused(
            &["--shard-count", "4"],
            &[(SLURM_INDEX, "1"), (KUBERNETES_INDEX, "2")],
            &[SLURM_INDEX, KUBERNETES_INDEX, "--shard"],
        );
        refused(
            &["--shard-count", "3"],
            &ARRAY,
            &["3/3", SLURM_INDEX, "--array=0-15"],
        );
        // A task run again alone, an array from 1, one with gaps.
        for (index, count, first, last) in
            [("3", "1", "3", "3"), ("1", "16", "1", "16"), ("0", "2", "0", "5")]
        {
            let array = [
                (SLURM_INDEX, index),
                (SLURM_COUNT, count),
                (SLURM_FIRST, first),
                (SLURM_LAST, last),
            ];
            refused(&[], &array, &["--shard-count", "not known"]);
        }
    }
}
