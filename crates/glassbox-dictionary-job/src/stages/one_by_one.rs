//! All dictionaries together where that works, else each by itself.

use crate::error::{JobError, Result};
use crate::job::Job;
use crate::stage::Stage;
use crate::watch::JobWatch;

/// Does `work` for all of `names` in one pass. If that fails, it is done for each name alone, and those that fail again are
/// given up.
pub(super) fn together_or_one_by_one(
    job: &mut Job,
    stage: Stage,
    names: &[String],
    watch: &dyn JobWatch,
    work: impl Fn(&Job, &[String]) -> Result<()>,
) -> Result<usize> {
    match work(job, names) {
        Ok(()) => return Ok(names.len()),
        Err(error) if ends_all(&error) || names.len() < 2 => {
            let [only] = names else { return Err(error) };
            if ends_all(&error) {
                return Err(error);
            }
            job.give_up(only, stage, error.to_string(), watch)?;
            return Ok(0);
        }
        Err(_) => {}
    }
    let mut done = 0;
    for name in names {
        match work(job, std::slice::from_ref(name)) {
            Ok(()) => done += 1,
            Err(error) if ends_all(&error) => return Err(error),
            Err(error) => job.give_up(name, stage, error.to_string(), watch)?,
        }
    }
    Ok(done)
}

/// Whether an error concerns more than one dictionary.
fn ends_all(error: &JobError) -> bool {
    matches!(
        error,
        JobError::Stopped { .. }
            | JobError::Corpus(_)
            | JobError::Store(_)
            | JobError::Tokenizer(_)
            | JobError::Folder { .. }
            | JobError::Missing { .. }
    )
}
