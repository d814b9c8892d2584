//! A patched, recorded sweep in glassbox: what both sweep works run.

use std::sync::Arc;

use anyhow::Result;
use glassbox_dictionary::{Dictionary, FeatureEdit, FeatureSubset};
use glassbox_kernels::{Backend as _, CpuBackend};
use glassbox_model::edit::{BatchRows, Positions, RowIntervention, RowProgram};
use glassbox_model::forward::{SiteView, SiteVisitor, Workspace};
use glassbox_model::forward_error::VisitError;
use glassbox_model::generate::{ChosenToken, Generated, GenerationObserver, GenerationRequest, Prompts};
use glassbox_model::model::Model;
use glassbox_model::site::Site;

use crate::bench_peers::bench::Setting;
use crate::bench_peers::inputs;

/// Tokens of the prompt.
pub const PROMPT: usize = 100;
/// New tokens per row.
pub const NEW_TOKENS: usize = 16;
/// Block whose output is patched.
pub const LAYER: u32 = 6;
/// What the patched feature is set to.
pub const VALUE: f32 = 5.0;
/// Features recorded per block.
pub const RECORDED: u32 = 232;

/// Model and dictionaries, ready for batches of any number of rows.
pub struct PatchedSweep {
    model: Model<CpuBackend>,
    workspace: Workspace<CpuBackend>,
    patched: Arc<Dictionary<CpuBackend>>,
    recorded: Vec<FeatureSubset<CpuBackend>>,
    prompt: Vec<u32>,
}

/// What a batch gives.
pub struct SweepResult {
    /// The tokens.
    pub rows: Vec<Generated>,
    /// Recorded features [new tokens, block, row, feature].
    pub records: Vec<f32>,
}

impl PatchedSweep {
    /// Loads the model and all dictionaries.
    ///
    /// # Errors
    /// If a folder holds none.
    pub fn new(setting: &Setting) -> Result<Self> {
        let model = inputs::model(&setting.data.join(inputs::MODEL))?;
        let folder = setting.data.join(inputs::DICTIONARIES);
        let ids = inputs::features(RECORDED);
        let dictionaries = (0..inputs::BLOCKS)
            .map(|layer| inputs::dictionary(&folder, layer))
            .collect::<Result<Vec<_>>>()?;
        let recorded = dictionaries
            .iter()
            .map(|dictionary| Ok(dictionary.subset(&ids)?))
            .collect::<Result<Vec<_>>>()?;
        Ok(Self {
            workspace: model.workspace(),
            model,
            patched: Arc::clone(&dictionaries[LAYER as usize]),
            recorded,
            prompt: inputs::tokens(5, PROMPT),
        })
    }

    /// The prompt's tokens.
    pub fn prompt(&self) -> &[u32] {
        &self.prompt
    }

    /// One batch, greedy: a row per edit, the prompt computed once, the chosen features of every block recorded.
    ///
    /// # Errors
    /// The model's and the dictionaries' own.
    pub fn batch(&mut self, edits: &[FeatureEdit], top_logits: usize) -> Result<SweepResult> {
        let mut program = RowProgram::default();
        for (row, edit) in (0..).zip(edits) {
            program.interventions.push(RowIntervention {
                rows: BatchRows::One(row),
                site: Site::ResidPost(LAYER),
                positions: Positions::LastAndGenerated,
                heads: None,
                edit: edit.compile(&self.patched)?,
            });
        }
        let prefix = self
            .model
            .prefill_shared(&mut self.workspace, std::slice::from_ref(&self.prompt))?;
        let rows = vec![0; edits.len()];
        let mut recorder = Recorder {
            subsets: &self.recorded,
            rows: edits.len(),
            latest: Vec::new(),
            values: vec![0.0; NEW_TOKENS * self.recorded.len() * edits.len() * RECORDED as usize],
        };
        let prompts = Prompts::Shared {
            prefix: &prefix,
            rows: &rows,
        };
        let request = GenerationRequest::new(prompts, NEW_TOKENS)
            .eos_token_ids(&[])
            .program(&program)
            .observer(&mut recorder)
            .top_logits(top_logits);
        let rows = self.model.generate(&mut self.workspace, request)?;
        Ok(SweepResult {
            rows,
            records: recorder.values,
        })
    }
}

/// One feature per row, each set to [`VALUE`] by its delta.
pub fn delta_edits(features: &[u32]) -> Vec<FeatureEdit> {
    let edit = |&feature: &u32| FeatureEdit::SetByDelta {
        feature,
        value: VALUE,
    };
    features.iter().map(edit).collect()
}

/// Records the chosen features of every block's output.
struct Recorder<'a> {
    subsets: &'a [FeatureSubset<CpuBackend>],
    rows: usize,
    /// [new token, block, row, feature].
    values: Vec<f32>,
    /// Of one visit, [row, feature].
    latest: Vec<f32>,
}

impl SiteVisitor<CpuBackend> for Recorder<'_> {
    fn wants(&self, site: Site) -> bool {
        matches!(site, Site::ResidPost(_))
    }

    fn visit(&mut self, backend: &CpuBackend, view: &SiteView<'_, CpuBackend>) -> Result<(), VisitError> {
        let Site::ResidPost(layer) = view.site else {
            return Ok(());
        };
        let subset = &self.subsets[layer as usize];
        // A generation that continues a shared prefix has one position per row.
        let rows = view.layout.batch();
        let values = subset.encode(view.buffer, rows)?;
        let width = subset.ids().len();
        self.latest.resize(rows * width, 0.0);
        backend.read(&values, 0, &mut self.latest)?;
        for (row, latest) in self.latest.chunks_exact(width).enumerate() {
            let position = view.layout.position(row, 0).ok_or("a row has no position")? as usize;
            let token = position + 1 - PROMPT;
            let place =
                (token * self.subsets.len() + layer as usize) * self.rows + view.layout.row_id(row) as usize;
            self.values[place * width..(place + 1) * width].copy_from_slice(latest);
        }
        Ok(())
    }
}

impl GenerationObserver<CpuBackend> for Recorder<'_> {
    fn chosen(&mut self, _step: usize, _tokens: &[ChosenToken]) -> Result<(), VisitError> {
        Ok(())
    }
}
