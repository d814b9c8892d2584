//! One pass over the corpus for several dictionaries.

use std::collections::BTreeSet;
use std::sync::Arc;

use glassbox_corpus::TokenRow;
use glassbox_dictionary::Dictionary;
use glassbox_kernels::Backend;
use glassbox_model::forward::LogitPositions;
use glassbox_model::model::Model;
use glassbox_model::site::Site;

use crate::census::feature_census::{CensusFindings, FeatureCensus};
use crate::census::settings::CensusSettings;
use crate::encoding::encode_tokens;
use crate::error::{InterpretationError, Result};
use crate::rows::PassRows;
use crate::site_pass::{SiteRequest, site_values};
use crate::watch::Watch;

/// Takes the census of several dictionaries in one pass over rows of tokens. The pass ends after the last block that any of them
/// reads; nothing is kept of a row once it has been seen.
///
/// # Errors
/// [`InterpretationError::NoTokens`] if no token counts, [`InterpretationError::Stopped`], those of `rows`, of the model and
/// of the dictionaries.
pub fn run_census<B: Backend, E>(
    model: &Model<B>,
    dictionaries: &[Arc<Dictionary<B>>],
    rows: impl IntoIterator<Item = std::result::Result<TokenRow, E>>,
    settings: &CensusSettings,
    watch: &dyn Watch,
) -> std::result::Result<Vec<CensusFindings>, E>
where
    E: From<InterpretationError>,
{
    let mut censuses = Vec::with_capacity(dictionaries.len());
    let mut sites = BTreeSet::new();
    for dictionary in dictionaries {
        let description = dictionary.description();
        description
            .check_model(model.config(), None)
            .map_err(InterpretationError::from)?;
        censuses.push(FeatureCensus::new(description.features, settings)?);
        sites.insert(description.site);
    }
    let request = SiteRequest {
        sites: sites.into_iter().collect::<Vec<Site>>(),
        ..SiteRequest::default()
    };
    let mut workspace = model.workspace();
    let mut pass: Vec<TokenRow> = Vec::new();
    let mut done = 0;
    let mut run = |rows: &[TokenRow]| -> Result<()> {
        if watch.should_stop() {
            return Err(InterpretationError::Stopped { done, total: done });
        }
        let pass = PassRows::new(rows)?;
        if !pass.kept.is_empty() {
            let values = site_values(model, &mut workspace, &pass, &request, LogitPositions::None)?;
            for (dictionary, census) in dictionaries.iter().zip(&mut censuses) {
                let x = &values.kept[&dictionary.description().site];
                let encoding = encode_tokens(dictionary, x, pass.kept.len(), false)?;
                census.push(&pass, &encoding.features);
            }
        }
        done += pass.tokens() as u64;
        watch.advanced(pass.tokens() as u64);
        Ok(())
    };
    let mut longest = 0;
    for row in rows {
        let row = row?;
        longest = longest.max(row.tokens.len());
        if !pass.is_empty() && longest * (pass.len() + 1) > settings.tokens_per_pass {
            run(&pass)?;
            pass.clear();
            longest = row.tokens.len();
        }
        pass.push(row);
    }
    if !pass.is_empty() {
        run(&pass)?;
    }
    if censuses.iter().all(|census| census.tokens() == 0) {
        return Err(InterpretationError::NoTokens {
            what: "the corpus".to_owned(),
            site: None,
            remedy: "give documents with more than one token",
        }
        .into());
    }
    Ok(censuses.into_iter().map(FeatureCensus::finish).collect())
}
