//! `trace`: the values at chosen sites of one forward pass.

use glassbox_model::batch::TokenBatch;
use glassbox_model::forward::{ForwardRequest, LogitPositions};
use glassbox_store::Storage;
use safetensors::Dtype;
use serde_json::json;

use crate::arguments::TraceArguments;
use crate::error::CliError;
use crate::exit_code;
use crate::named_model::NamedModel;
use crate::output::{print, print_json, refuse_input_as_output};
use crate::site_list;
use crate::table::table;
use crate::tensor_file::TensorWriter;

/// Runs one pass and writes its sites.
///
/// # Errors
/// A [`CliError`] if the model, the input, a site or the file to write cannot be used.
pub fn trace(arguments: &TraceArguments) -> Result<u8, CliError> {
    let named = NamedModel::open(&arguments.model, arguments.weights)?;
    let model = &named.model;
    refuse_input_as_output(&arguments.out, &[&named.folder])?;
    let sites = site_list::select(&arguments.sites, model.config())?;
    if sites.is_empty() {
        return Err(CliError::usage_with_hint(
            "--sites names no site",
            "give names or globs, for example --sites 'blocks.*.hook_resid_post'",
        ));
    }
    let tokens = match (&arguments.tokens, &arguments.prompt) {
        (Some(tokens), _) => tokens.clone(),
        (None, prompt) => named.prompt_tokens(prompt.as_deref().unwrap_or_default())?,
    };
    let batch = TokenBatch::from_row(&tokens).map_err(glassbox_model::forward_error::ForwardError::from)?;
    let request = ForwardRequest::new(&batch)
        .logits(LogitPositions::All)
        .record(&sites);
    let output = model.forward(&mut model.workspace(), request)?;

    let tokens_shape = vec![1, tokens.len()];
    let logits_shape = vec![1, tokens.len(), output.logits.vocab_size];
    let recorded: Vec<(String, &[usize], &[f32])> = sites
        .iter()
        .filter_map(|site| Some((site.to_string(), output.recording.get(*site)?)))
        .map(|(name, recorded)| (name, recorded.shape.as_slice(), recorded.values.as_slice()))
        .chain([(
            "logits".to_owned(),
            logits_shape.as_slice(),
            output.logits.values.as_slice(),
        )])
        .collect();
    let mut tensors: Vec<(&str, Dtype, &[usize])> = vec![("tokens", Dtype::I64, &tokens_shape)];
    tensors.extend(
        recorded
            .iter()
            .map(|(name, shape, _)| (name.as_str(), Dtype::F32, *shape)),
    );

    let mut file = TensorWriter::create(&Storage::new(), &arguments.out, &tensors)?;
    file.integers(tokens.iter().map(|token| i64::from(*token)))?;
    recorded
        .iter()
        .try_for_each(|(_, _, values)| file.floats(values))?;
    let written = file.commit()?;

    if arguments.json {
        let listed = tensors
            .iter()
            .map(|(name, dtype, shape)| json!({ "name": name, "type": dtype.to_string(), "shape": shape }));
        let listed: Vec<_> = listed.collect();
        print_json(
            &json!({ "out": written.path.display().to_string(), "bytes": written.bytes, "tokens": tokens, "tensors": listed }),
        )?;
    } else {
        let row = |(name, dtype, shape): &(&str, Dtype, &[usize])| {
            vec![(*name).to_owned(), dtype.to_string(), format!("{shape:?}")]
        };
        print(&table(
            &["tensor", "type", "shape"],
            &tensors.iter().map(row).collect::<Vec<_>>(),
        ))?;
    }
    Ok(exit_code::DONE)
}
