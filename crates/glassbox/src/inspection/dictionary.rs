//! A dictionary folder, and a folder of them.

use std::path::Path;

use glassbox_dictionary::{DictionarySet, DictionarySummary, formats};
use serde_json::{Value, json};

use super::{Inspection, described};
use crate::error::CliError;
use crate::table::{bytes, table};

/// Checks a dictionary's configuration and the header of its weights.
pub(super) fn inspect(folder: &Path) -> Result<Inspection, CliError> {
    let summary = formats::inspect(folder)?;
    let text = format!("{summary}\nusable       yes (the weights' values are checked when it is loaded)\n");
    Ok(Inspection {
        text,
        json: described("dictionary", folder, true, facts_of(&summary)),
        damage: None,
    })
}

/// Checks a cross-layer transcoder's configuration and the headers of its files.
pub(super) fn inspect_cross_layer(folder: &Path) -> Result<Inspection, CliError> {
    let description = glassbox_dictionary::inspect_cross_layer(folder)?;
    let rows: Vec<Vec<String>> = description
        .sites
        .iter()
        .zip(&description.output_sites)
        .enumerate()
        .map(|(layer, (site, output))| {
            let last = description.layers() - 1;
            vec![
                layer.to_string(),
                site.to_string(),
                format!("{output} to layer {last}"),
            ]
        })
        .collect();
    let text = format!(
        "cross-layer transcoder {} ({})\n{} layers of {} features, width {}, {}, {}{}\n\n{}",
        folder.display(),
        description.format,
        description.layers(),
        description.features,
        description.width,
        description.rule,
        bytes(description.bytes),
        if description.skip {
            ", with a skip connection"
        } else {
            ""
        },
        table(&["layer", "reads", "writes"], &rows)
    );
    let names =
        |sites: &[glassbox_model::site::Site]| sites.iter().map(ToString::to_string).collect::<Vec<_>>();
    let facts = json!({
        "format": description.format,
        "sites": names(&description.sites),
        "output_sites": names(&description.output_sites),
        "width": description.width,
        "features": description.features,
        "activation": description.rule,
        "skip": description.skip,
        "bytes": description.bytes,
        "model": description.model,
    });
    Ok(Inspection {
        text,
        json: described("cross_layer_transcoder", folder, true, facts),
        damage: None,
    })
}

/// Checks every dictionary of a folder in the same way.
pub(super) fn inspect_set(folder: &Path) -> Result<Inspection, CliError> {
    let set = DictionarySet::open(folder)?;
    let (mut rows, mut members) = (Vec::new(), Vec::new());
    for (site, member) in set.members() {
        let description = &member.description;
        rows.push(vec![
            site.to_string(),
            description.width.to_string(),
            description.features.to_string(),
            description.rule.to_string(),
            description.provenance.format.clone(),
            bytes(member.bytes),
            member
                .path
                .strip_prefix(folder)
                .unwrap_or(&member.path)
                .display()
                .to_string(),
        ]);
        members.push(described(
            "dictionary",
            &member.path,
            true,
            facts_of(&formats::inspect(&member.path)?),
        ));
    }
    let headings = [
        "site",
        "width",
        "features",
        "activation",
        "format",
        "weights",
        "folder",
    ];
    let text = format!(
        "{} dictionaries in {}\n\n{}",
        rows.len(),
        folder.display(),
        table(&headings, &rows)
    );
    let json = described("dictionary_set", folder, true, json!({ "dictionaries": members }));
    Ok(Inspection {
        text,
        json,
        damage: None,
    })
}

fn facts_of(summary: &DictionarySummary) -> Value {
    json!({
        "format": summary.format,
        "site": summary.site,
        "output_site": summary.output_site,
        "width": summary.width,
        "output_width": summary.output_width,
        "skip": summary.skip,
        "features": summary.features,
        "activation": summary.rule,
        "input_normalisation": summary.input_normalisation,
        "subtract_decoder_bias": summary.subtract_decoder_bias,
        "precision": summary.precision,
        "bytes": summary.bytes,
        "model": summary.model,
        "notes": summary.notes,
        "stored_frequency": summary.stored_frequency.map(|frequency| json!({
            "median_log10": frequency.median_log10,
            "never_active": frequency.never_active,
        })),
    })
}
