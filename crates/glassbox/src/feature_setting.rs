//! `L25-10096=3.5`: a feature, and the value that it is set to.

use std::path::Path;
use std::str::FromStr;

use glassbox_dictionary::{DictionaryCache, DictionarySet, FeatureEdit};
use glassbox_experiment::feature_name::parse_feature_name;
use glassbox_kernels::CpuBackend;
use glassbox_model::edit::{BatchRows, Positions, RowIntervention, RowProgram};
use glassbox_model::model::Model;
use glassbox_model::model_hash::model_hash;
use glassbox_model::site::Site;

use crate::error::CliError;
use crate::named_model::NamedModel;

/// Bytes that the dictionaries of one command may hold.
const DICTIONARY_BUDGET_BYTES: u64 = 8 << 30;

/// One `--set`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FeatureSetting {
    /// Block whose output the dictionary reads.
    pub layer: u32,
    /// The feature.
    pub feature: u32,
    /// The value, in the dictionary's units.
    pub value: f32,
}

impl FromStr for FeatureSetting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (name, value) = text.split_once('=')?;
            let (layer, feature) = parse_feature_name("generate", name.trim()).ok()?;
            let value: f32 = value
                .trim()
                .parse()
                .ok()
                .filter(|value: &f32| value.is_finite())?;
            Some(Self {
                layer,
                feature,
                value,
            })
        };
        parse().ok_or_else(|| {
            "expected a block, a feature and a finite number, such as L25-10096=3.5".to_owned()
        })
    }
}

/// The settings as a program for every row, each by delta at the last prompt position and every generated one.
///
/// # Errors
/// [`CliError::Dictionary`] if a dictionary is missing, does not fit the model, or lacks the feature.
pub fn compile(
    settings: &[FeatureSetting],
    dictionaries: &Path,
    named: &NamedModel,
) -> Result<RowProgram<CpuBackend>, CliError> {
    let model: &Model = &named.model;
    let set = DictionarySet::open(dictionaries)?;
    set.check_model(model.config(), Some(&model_hash(&named.folder)?))?;
    let cache = DictionaryCache::new(model.backend(), DICTIONARY_BUDGET_BYTES);
    let mut program = RowProgram::default();
    for (index, setting) in settings.iter().enumerate() {
        let same = |other: &&FeatureSetting| (other.layer, other.feature) == (setting.layer, setting.feature);
        if settings[..index].iter().find(same).is_some() {
            return Err(CliError::usage_with_hint(
                format!("--set names L{}-{} twice", setting.layer, setting.feature),
                "give each feature one value",
            ));
        }
        let site = Site::ResidPost(setting.layer);
        let dictionary = set.load(site, &cache)?;
        let edit = FeatureEdit::SetByDelta {
            feature: setting.feature,
            value: setting.value,
        }
        .compile(&dictionary)?;
        program.interventions.push(RowIntervention {
            rows: BatchRows::All,
            site,
            positions: Positions::LastAndGenerated,
            heads: None,
            edit,
        });
    }
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read() {
        let setting = FeatureSetting {
            layer: 25,
            feature: 10096,
            value: -3.5,
        };
        assert_eq!("L25-10096=-3.5".parse(), Ok(setting));
        for wrong in [
            "",
            "25-1=2",
            "L25=2",
            "L25-1",
            "L25-1=nan",
            "L25-1=inf",
            "L-1-2=3",
            "L1-x=3",
        ] {
            assert!(wrong.parse::<FeatureSetting>().is_err(), "{wrong}");
        }
    }
}
