//! Names of features, `L3-89`: block 3, feature 89.

use crate::edges::RecordedFeature;
use crate::error::ExperimentError;

/// The feature that a name stands for.
///
/// # Errors
/// [`ExperimentError::Data`] for anything but `L`, a block index, `-` and a feature index.
pub fn parse_feature_name(stage: &'static str, name: &str) -> Result<RecordedFeature, ExperimentError> {
    let parts = name.strip_prefix('L').and_then(|rest| rest.split_once('-'));
    let numbers = parts.and_then(|(layer, feature)| Some((layer.parse().ok()?, feature.parse().ok()?)));
    numbers.ok_or_else(|| ExperimentError::Data {
        stage,
        what: format!("'{name}' is no feature; write L3-89 for feature 89 of the dictionary after block 3"),
    })
}

/// The features that names stand for.
///
/// # Errors
/// As [`parse_feature_name`].
pub fn parse_feature_names(
    stage: &'static str,
    names: &[String],
) -> Result<Vec<RecordedFeature>, ExperimentError> {
    names.iter().map(|name| parse_feature_name(stage, name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_others_refused() {
        assert_eq!(parse_feature_name("select", "L3-89").unwrap(), (3, 89));
        for bad in [
            "",
            "L3",
            "3-89",
            "L-1-2",
            "L3-89x",
            "L3-",
            "l3-89",
            "L99999999999-1",
        ] {
            let error = parse_feature_name("select", bad).unwrap_err().to_string();
            assert!(error.contains("L3-89"), "{bad}: {error}");
        }
    }
}
