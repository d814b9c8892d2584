//! A job of dictionaries: its file, and its folder.

use std::fs;
use std::path::Path;

use glassbox_corpus::DocumentReader;
use glassbox_dictionary_job::{CHECKLIST_FILE, JOB_FILE, JobSettings, Layers};
use glassbox_model::config_parse::read_config;
use glassbox_model::locate::{HubEnvironment, locate};
use serde_json::{Value, json};

use super::{Inspection, described};
use crate::error::CliError;
use crate::table::{bytes, duration, facts};

/// Reads a job and looks for what it names: the model, its layers, the corpus.
pub(super) fn inspect(path: &Path) -> Result<Inspection, CliError> {
    let settings = JobSettings::read(path)?;
    let environment = HubEnvironment::of_process();
    let beside = settings.folder.join(&settings.model);
    let model = if beside.is_dir() {
        beside
    } else {
        locate(&settings.model, &environment)?
    };
    let config = read_config(&model)?;
    let dictionaries = settings.dictionaries(config.n_layers)?;
    let reader = DocumentReader::open(settings.documents(), &environment)?;
    let corpus_bytes: u64 = reader.files().iter().map(|file| file.bytes).sum();
    let sites: Vec<&str> = dictionaries
        .iter()
        .map(|(_, dictionary)| dictionary.site.as_str())
        .collect();
    let layers = match &settings.layers {
        Layers::All => format!("all {}", config.n_layers),
        Layers::Listed(listed) => format!("{listed:?} of {}", config.n_layers),
    };
    let architecture = dictionaries
        .first()
        .map_or("", |(_, dictionary)| dictionary.objective.name());
    let text = facts(&[
        ("job", format!("{} ({})", settings.name, path.display())),
        ("model", format!("{} ({})", model.display(), config.family)),
        ("layers", layers),
        ("dictionaries", format!("{architecture}; {}", sites.join(", "))),
        (
            "corpus",
            format!("{} files, {}", reader.files().len(), bytes(corpus_bytes)),
        ),
        ("training", format!("{} tokens", settings.train.tokens)),
        (
            "usable",
            "yes (texts and weights are read when the job runs)".to_owned(),
        ),
    ]);
    let value = serde_json::to_value(&settings).map_err(|error| CliError::usage(error.to_string()))?;
    let rest =
        json!({ "settings": value, "model_folder": model, "sites": sites, "corpus_bytes": corpus_bytes });
    Ok(Inspection {
        text,
        json: described("job", path, true, rest),
        damage: None,
    })
}

/// Reads what the folder of a job says of itself.
pub(super) fn inspect_folder(path: &Path) -> Result<Inspection, CliError> {
    let record = read(&path.join(JOB_FILE))?;
    let checklist = path.join(CHECKLIST_FILE);
    let checklist = if checklist.is_file() {
        read(&checklist)?
    } else {
        Value::Null
    };
    let of = |value: &Value, key: &str| value[key].as_str().unwrap_or("–").to_owned();
    let seconds = record["seconds"].as_object().map_or(String::new(), |stages| {
        let stage = |(name, seconds): (&String, &Value)| {
            format!("{name} {}", duration(seconds.as_f64().unwrap_or(0.0)))
        };
        stages.iter().map(stage).collect::<Vec<_>>().join(", ")
    });
    let mut rows = vec![
        (
            "job",
            format!("{} ({})", of(&record["settings"], "name"), path.display()),
        ),
        ("model", of(&record, "model")),
        (
            "stages",
            if seconds.is_empty() {
                "none is complete".to_owned()
            } else {
                seconds
            },
        ),
    ];
    for (name, failure) in record["failures"].as_object().into_iter().flatten() {
        rows.push((
            "failed",
            format!("{name} in {}: {}", of(failure, "stage"), of(failure, "why")),
        ));
    }
    for dictionary in checklist.as_array().into_iter().flatten() {
        let check = |check: &Value| {
            let found = check["found"]
                .as_f64()
                .map_or("–".to_owned(), |found| format!("{found:.4}"));
            format!(
                "{} {found} ({})",
                of(check, "what"),
                of(check, "verdict").replace('_', " ")
            )
        };
        let checks = dictionary["checks"].as_array().into_iter().flatten().map(check);
        let checks: Vec<String> = checks.collect();
        rows.push((
            "dictionary",
            format!("{}: {}", of(dictionary, "name"), checks.join(", ")),
        ));
    }
    if checklist.is_null() {
        rows.push((
            "checklist",
            "none: the job has not come to its end; continue it with --resume".to_owned(),
        ));
    }
    let rest = json!({ "job": record, "checklist": checklist });
    Ok(Inspection {
        text: facts(&rows),
        json: described("job_folder", path, true, rest),
        damage: None,
    })
}

fn read(file: &Path) -> Result<Value, CliError> {
    let unreadable = |cause| CliError::Read {
        path: file.to_path_buf(),
        cause,
    };
    let bytes = fs::read(file).map_err(unreadable)?;
    serde_json::from_slice(&bytes).map_err(|cause| unreadable(std::io::Error::other(cause)))
}
