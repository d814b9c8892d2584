//! Residuals after every block, on whole documents.

use anyhow::Result;

use crate::corpus::TokenDocument;
use crate::train::{Batch, Parameters, Workspace};

/// Where in its document a token stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The BOS token at position 0.
    Begin,
    /// A prompt token but the last.
    Prompt,
    /// The last prompt token.
    Cue,
    /// A response token.
    Response,
}

/// Activations of some documents.
pub struct Activations {
    /// Per layer [n, d_model]: `blocks.{layer}.hook_resid_post`.
    pub layers: Vec<Vec<f32>>,
    /// Place of each of the n tokens.
    pub places: Vec<Place>,
}

/// Runs documents through the model. Position 0 is left out unless `with_begin`.
///
/// # Errors
/// If the forward pass fails.
pub fn collect(
    parameters: &Parameters,
    documents: &[TokenDocument],
    with_begin: bool,
) -> Result<Activations> {
    let d = parameters.shape.d_model;
    let skipped = usize::from(!with_begin);
    let mut workspace = Workspace::new(&parameters.shape);
    let mut layers = vec![Vec::new(); parameters.shape.layers];
    let mut places = Vec::new();
    for chunk in documents.chunks(32) {
        let batch = Batch::of_documents(chunk);
        workspace.residuals(parameters, &batch)?;
        for (document, range) in chunk.iter().zip(&batch.documents) {
            for (layer, rows) in layers.iter_mut().enumerate() {
                let kept = (range.start + skipped) * d..range.end * d;
                rows.extend_from_slice(&workspace.residual_post(layer)[kept]);
            }
            places.extend((skipped..range.len()).map(|position| match position {
                0 => Place::Begin,
                p if p + 1 < document.response_start => Place::Prompt,
                p if p + 1 == document.response_start => Place::Cue,
                _ => Place::Response,
            }));
        }
    }
    Ok(Activations { layers, places })
}
