//! What the files of a job say of one dictionary.

use std::fs;
use std::path::{Path, PathBuf};

use glassbox_dictionary::formats;
use glassbox_interpretation::exports::{CENSUS_FILE, census_files};
use glassbox_training::HistoryLine;
use serde_json::Value;

use crate::checklist::Measured;
use crate::error::{JobError, Result};
use crate::folder::JobFolder;
use crate::stage::Stage;

/// Share of training at whose end the held-out figures are compared.
const LATE: f64 = 0.8;

/// Reads what is there; what is not stays `None`.
///
/// # Errors
/// [`JobError::Folder`] for a file that is there and damaged.
pub(crate) fn measure(folder: &JobFolder, name: &str, stages: &[Stage]) -> Result<Measured> {
    let evaluation = read_json(&folder.evaluation(name))?;
    let number =
        |value: &Option<Value>, path: &str| value.as_ref().and_then(|value| value.pointer(path)?.as_f64());
    let census = read_json(&folder.features(name).join(CENSUS_FILE))?;
    Ok(Measured {
        files: files(folder, name, stages),
        explained_variance: number(&evaluation, "/reconstruction/explained_variance"),
        l0: number(&evaluation, "/sparsity/l0"),
        dead_share: number(&evaluation, "/sparsity/dead_share"),
        loss_recovered: number(&evaluation, "/loss/recovered_against_zero/estimate"),
        late_change: late_change(&folder.history(name))?,
        interpretable_share: number(&census, "/interpretable_share"),
    })
}

/// Files that these stages leave, and those that are there and whole: the dictionary when it opens, the others by their content or
/// size. `None` if they leave none of a dictionary's own.
fn files(folder: &JobFolder, name: &str, stages: &[Stage]) -> Option<(usize, usize)> {
    let has_content = |file: PathBuf| usize::from(fs::metadata(file).is_ok_and(|found| found.len() > 0));
    let (mut expected, mut whole) = (0, 0);
    for stage in stages {
        let (of_stage, there) = match stage {
            Stage::Extract => (0, 0),
            Stage::Train => {
                let opens = usize::from(formats::open(&folder.dictionary(name)).is_ok());
                (2, opens + has_content(folder.history(name)))
            }
            Stage::Evaluate => (1, has_content(folder.evaluation(name))),
            Stage::Features => census_files(&folder.features(name)),
        };
        expected += of_stage;
        whole += there;
    }
    (expected > 0).then_some((expected, whole))
}

/// Size of the change of the held-out explained variance from the first measurement in the last fifth of training to the last one.
fn late_change(history: &Path) -> Result<Option<f64>> {
    let text = match fs::read_to_string(history) {
        Ok(text) => text,
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(damaged(history, &cause)),
    };
    let lines = text
        .lines()
        .map(|line| serde_json::from_str(line).map_err(|cause| damaged(history, &cause)))
        .collect::<Result<Vec<HistoryLine>>>()?;
    let Some(last_step) = lines.last().map(|line| line.step) else {
        return Ok(None);
    };
    let late: Vec<f64> = lines
        .iter()
        .filter(|line| line.step as f64 >= LATE * last_step as f64)
        .filter_map(|line| Some(line.held_out?.explained_variance))
        .collect();
    Ok(match late.as_slice() {
        [first, .., last] => Some((last - first).abs()),
        _ => None,
    })
}

fn read_json(file: &Path) -> Result<Option<Value>> {
    match fs::read(file) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|cause| damaged(file, &cause)),
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(damaged(file, &cause)),
    }
}

fn damaged(file: &Path, cause: &dyn std::fmt::Display) -> JobError {
    JobError::Folder {
        folder: file.to_path_buf(),
        what: format!("something that can't be read ({cause}); remove it and continue the job with --resume"),
    }
}
