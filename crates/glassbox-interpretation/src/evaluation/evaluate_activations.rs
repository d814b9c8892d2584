//! Evaluates dictionaries on activations that are there already.

use glassbox_corpus::{ActivationBatch, ActivationSource};
use glassbox_kernels::Backend;
use glassbox_model::site::Site;

use crate::encoding::encode_tokens;
use crate::error::{InterpretationError, Result};
use crate::evaluation::evaluate::{EvaluationSettings, EvaluationSubject};
use crate::evaluation::evaluation_report::Evaluation;
use crate::evaluation::subject_sums::SubjectSums;
use crate::watch::Watch;

/// Evaluates dictionaries on the activations of a source, until so many tokens were seen or its pass ends. Activations have no rows, so that
/// there is no loss.
///
/// # Errors
/// [`InterpretationError::SiteNotStored`] if the source lacks a site, [`InterpretationError::Corpus`], those of the dictionaries.
pub fn evaluate_activations<B: Backend>(
    source: &mut dyn ActivationSource,
    subjects: &[EvaluationSubject<B>],
    tokens: u64,
    settings: &EvaluationSettings,
    watch: &dyn Watch,
) -> Result<Vec<Evaluation>> {
    let place = |site: Site| {
        let sites = source.sites();
        let found = sites.iter().position(|stored| stored.site == site);
        found.ok_or_else(|| InterpretationError::SiteNotStored {
            site,
            stored: sites
                .iter()
                .map(|stored| stored.site.to_string())
                .collect::<Vec<_>>()
                .join(", "),
        })
    };
    let mut gathered = Vec::with_capacity(subjects.len());
    for subject in subjects {
        let description = subject.dictionary.description();
        let places = (place(description.site)?, place(description.output_site)?);
        gathered.push((subject, places, None::<SubjectSums>));
    }
    let mut batch = ActivationBatch::new();
    let mut done = 0;
    while done < tokens && source.next(&mut batch)? {
        if watch.should_stop() {
            return Err(InterpretationError::Stopped { done, total: tokens });
        }
        for (subject, (read, written), sums) in &mut gathered {
            let (dictionary, n) = (&subject.dictionary, batch.len());
            let (x, targets) = (&batch.sites[*read], &batch.sites[*written]);
            let sums = sums.get_or_insert_with(|| {
                SubjectSums::new(mean(targets, dictionary.output_width()), dictionary.features())
            });
            let encoding = encode_tokens(dictionary, &dictionary.backend().upload(x), n, true)?;
            let read_values = (read != written).then_some(x.as_slice());
            sums.push(&batch.documents, read_values, targets, &encoding);
        }
        done += batch.len() as u64;
        watch.advanced(batch.len() as u64);
    }
    gathered
        .into_iter()
        .map(|(subject, _, sums)| {
            let sums = sums.ok_or_else(|| InterpretationError::NoTokens {
                what: "the activations".to_owned(),
                site: Some(subject.dictionary.description().site),
                remedy: "extract documents of the split that is wanted, or use --all-documents",
            })?;
            sums.report(subject, None, settings)
        })
        .collect()
}

/// The mean of rows [n, width].
fn mean(rows: &[f32], width: usize) -> Vec<f32> {
    let mut sums = vec![0.0_f64; width];
    for row in rows.chunks_exact(width) {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += f64::from(*value);
        }
    }
    let n = (rows.len() / width).max(1) as f64;
    sums.iter().map(|sum| (sum / n) as f32).collect()
}
