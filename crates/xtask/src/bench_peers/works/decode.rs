//! Greedy generation.

use anyhow::Result;
use glassbox_kernels::CpuBackend;
use glassbox_model::forward::Workspace;
use glassbox_model::generate::{Generated, GenerationRequest, Prompts};
use glassbox_model::model::Model;
use serde_json::json;

use crate::bench_peers::bench::Setting;
use crate::bench_peers::comparison::same_tokens;
use crate::bench_peers::environment::Environment;
use crate::bench_peers::inputs;
use crate::bench_peers::peer::{Peer, tensor};
use crate::bench_peers::work::Contest;
use crate::bench_peers::works::seconds;

const PROMPT: usize = 100;

/// Rows that continue one prompt.
pub struct Decode {
    model: Model<CpuBackend>,
    workspace: Workspace<CpuBackend>,
    prompt: Vec<u32>,
    rows: usize,
    new_tokens: usize,
    note: &'static str,
    peer: Peer,
}

impl Decode {
    /// One row, 64 new tokens.
    ///
    /// # Errors
    /// If a side can't load the model.
    pub fn one_row(setting: &Setting, model: &str) -> Result<Self> {
        let note = if model == inputs::MODEL {
            "f32 on both sides; the prompt's pass is part of the time on both sides"
        } else {
            "glassbox keeps the weights in bf16 and computes in f32; the peer has the same rounded weights in f32; the \
             prompt's pass is part of the time on both sides"
        };
        Self::new(setting, model, 1, 64, note)
    }

    /// 32 rows that share the prompt, 32 new tokens.
    ///
    /// # Errors
    /// If a side can't load the model.
    pub fn shared_prompt(setting: &Setting) -> Result<Self> {
        let note = "f32 on both sides; glassbox computes the shared prompt once, generate once per row; the prompt's pass is \
                    part of the time on both sides";
        Self::new(setting, inputs::MODEL, 32, 32, note)
    }

    fn new(
        setting: &Setting,
        model: &str,
        rows: usize,
        new_tokens: usize,
        note: &'static str,
    ) -> Result<Self> {
        let folder = setting.data.join(model);
        let prompt = inputs::tokens(2, PROMPT);
        let mut peer = Peer::start(Environment::Torch, setting)?;
        let fields = json!({"model": folder, "tokens": vec![&prompt; rows], "new_tokens": new_tokens});
        peer.prepare("generate", fields)?;
        let model = inputs::model(&folder)?;
        Ok(Self {
            workspace: model.workspace(),
            model,
            prompt,
            rows,
            new_tokens,
            note,
            peer,
        })
    }

    fn generate(&mut self, top_logits: usize) -> Result<Vec<Generated>> {
        let prefix = self
            .model
            .prefill_shared(&mut self.workspace, std::slice::from_ref(&self.prompt))?;
        let rows = vec![0; self.rows];
        let prompts = Prompts::Shared {
            prefix: &prefix,
            rows: &rows,
        };
        let request = GenerationRequest::new(prompts, self.new_tokens)
            .eos_token_ids(&[])
            .top_logits(top_logits);
        Ok(self.model.generate(&mut self.workspace, request)?)
    }
}

impl Contest for Decode {
    fn check(&mut self) -> Result<String> {
        let ours = self.generate(2)?;
        let theirs = self.peer.check()?;
        Ok(same_tokens(&ours, tensor(&theirs, "tokens")?)?.describe())
    }

    fn glassbox(&mut self) -> Result<f64> {
        seconds(|| self.generate(0).map(|_| ()))
    }

    fn peer(&mut self) -> Result<f64> {
        self.peer.run()
    }

    fn units(&self) -> (f64, f64) {
        let tokens = (self.rows * self.new_tokens) as f64;
        (tokens, tokens)
    }

    fn note(&mut self) -> Result<String> {
        Ok(self.note.to_owned())
    }

    fn versions(&self) -> String {
        self.peer.versions().to_owned()
    }
}
