//! Every way to save work in a generation gives what the plain way gives: rows that share a prompt's keys, begin at the
//! first block that their edit changes, and follow one another in one batch.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use common::random_model::{self, FAMILIES, Numbers};
use glassbox_kernels::CpuBackend;
use glassbox_model::edit::{BatchRows, Positions, RowIntervention, RowProgram};
use glassbox_model::edits::{Add, Scale, Zero};
use glassbox_model::forward::{SiteView, SiteVisitor};
use glassbox_model::forward_error::VisitError;
use glassbox_model::generate::{
    ChosenToken, Generated, GenerationObserver, GenerationRequest, Prompts, StopRule,
};
use glassbox_model::model::Model;
use glassbox_model::random::RandomKey;
use glassbox_model::sampling::{RandomSampling, Sampling};
use glassbox_model::site::Site;

const SAMPLED: Sampling = Sampling::Random(RandomSampling {
    temperature: 0.9,
    top_k: Some(20),
    top_p: Some(0.95),
});
const ROWS: usize = 14;
const NEW: usize = 70;

/// The residual stream after every block at the last slot of each pass, by row, position and block.
#[derive(Default)]
struct Residuals(BTreeMap<(u32, u32, u32), Vec<f32>>);

impl SiteVisitor<CpuBackend> for Residuals {
    fn wants(&self, site: Site) -> bool {
        matches!(site, Site::ResidPost(_))
    }

    fn visit(&mut self, backend: &CpuBackend, view: &SiteView<'_, CpuBackend>) -> Result<(), VisitError> {
        let (values, queries) = (view.read(backend)?, view.layout.queries());
        let width = values.len() / (view.layout.batch() * queries);
        for row in 0..view.layout.batch() {
            let position = view.layout.position(row, queries - 1).unwrap();
            if position + 1 < view.layout.prompt_length(row) {
                continue;
            }
            let at = (row * queries + queries - 1) * width;
            let key = (view.layout.row_id(row), position, view.site.layer().unwrap());
            assert_eq!(self.0.insert(key, values[at..at + width].to_vec()), None);
        }
        Ok(())
    }
}

impl GenerationObserver<CpuBackend> for Residuals {
    fn chosen(&mut self, _step: usize, _tokens: &[ChosenToken]) -> Result<(), VisitError> {
        Ok(())
    }
}

/// Rows without an edit, with one at different sites, blocks and positions, with several; and one for all rows.
fn program(model: &Model<CpuBackend>) -> RowProgram<CpuBackend> {
    let mut numbers = Numbers::new(77);
    let last = model.config().n_layers as u32 - 1;
    let mut add = |width: usize| Arc::new(Add::new(model.backend(), &numbers.list(width, 0.0, 0.7)).unwrap());
    let width = model.config().d_model;
    let places = [
        (1, Site::ResidPost(last), Positions::LastAndGenerated),
        (2, Site::ResidPost(0), Positions::LastOfPrompt),
        (3, Site::ResidPre(0), Positions::LastAndGenerated),
        (4, Site::ResidPre(last), Positions::LastAndGenerated),
        (5, Site::MlpOut(last), Positions::LastAndGenerated),
        (6, Site::AttentionOut(0), Positions::LastOfPrompt),
        (7, Site::ResidMid(last), Positions::Generated),
        (8, Site::Embed, Positions::LastAndGenerated),
        (9, Site::ResidPost(0), Positions::Generated),
        (10, Site::ResidPost(last), Positions::LastAndGenerated),
        (10, Site::ResidPost(0), Positions::LastAndGenerated),
    ];
    let mut interventions: Vec<RowIntervention<CpuBackend>> = places
        .into_iter()
        .map(|(row, site, positions)| RowIntervention {
            rows: BatchRows::One(row),
            site,
            positions,
            heads: None,
            edit: add(width),
        })
        .collect();
    interventions.push(RowIntervention {
        rows: BatchRows::One(11),
        site: Site::Mixed(last),
        positions: Positions::LastAndGenerated,
        heads: Some(vec![0]),
        edit: Arc::new(Zero),
    });
    interventions.push(RowIntervention {
        rows: BatchRows::All,
        site: Site::MlpOut(last),
        positions: Positions::Generated,
        heads: None,
        edit: Arc::new(Scale(0.9)),
    });
    RowProgram { interventions }
}

/// Rows of very different lengths, none of one token.
struct EndsByRow;

impl StopRule for EndsByRow {
    fn stops(&mut self, row: usize, tokens: &[u32], _text: Option<&str>) -> bool {
        tokens.len() >= 2 + row * 29 % NEW
    }
}

struct Way {
    share: bool,
    live: usize,
    continuous: bool,
    resume: bool,
}

fn generate(
    model: &Model<CpuBackend>,
    prompts: &[Vec<u32>],
    sampling: Sampling,
    way: &Way,
) -> (Vec<Generated>, Residuals) {
    let which: Vec<u32> = (0..ROWS).map(|row| (row * 5 % prompts.len()) as u32).collect();
    let own: Vec<Vec<u32>> = which
        .iter()
        .map(|&prompt| prompts[prompt as usize].clone())
        .collect();
    let keys: Vec<RandomKey> = (0..ROWS as u64)
        .map(|trial| RandomKey {
            run_seed: 1,
            prompt: 5,
            trial,
        })
        .collect();
    let program = program(model);
    let mut workspace = model.workspace();
    let prefix = model.prefill_shared(&mut workspace, prompts).unwrap();
    let prompts = match way.share {
        true => Prompts::Shared {
            prefix: &prefix,
            rows: &which,
        },
        false => Prompts::Own(&own),
    };
    let (mut residuals, mut rule) = (Residuals::default(), EndsByRow);
    let request = GenerationRequest::new(prompts, NEW)
        .sampling(sampling, &keys)
        .program(&program)
        .eos_token_ids(&[])
        .stop_rule(&mut rule)
        .live_rows(way.live)
        .continuous(way.continuous)
        .resume_at_edit(way.resume)
        .top_logits(2)
        .observer(&mut residuals);
    (model.generate(&mut workspace, request).unwrap(), residuals)
}

/// Tokens equal, but where the two largest logits nearly tie in greedy decoding; values within 1e-4. Returns the ties.
fn assert_same(
    (expected, residuals): &(Vec<Generated>, Residuals),
    (found, found_residuals): &(Vec<Generated>, Residuals),
    what: &str,
) -> usize {
    let mut ties = 0;
    for (row, (expected, found)) in expected.iter().zip(found).enumerate() {
        let differs = expected
            .tokens
            .iter()
            .zip(&found.tokens)
            .position(|(a, b)| a != b);
        if let Some(step) = differs {
            let top = &expected.top_logits[step].values;
            assert!(top[0] - top[1] < 1e-4, "{what}: row {row}, step {step}: {top:?}");
            ties += 1;
            continue;
        }
        assert_eq!(expected.stop, found.stop, "{what}: row {row}");
        for step in 0..expected.tokens.len() {
            for (a, b) in expected.top_logits[step]
                .values
                .iter()
                .zip(&found.top_logits[step].values)
            {
                assert!(
                    (a - b).abs() < 1e-4 * a.abs().max(1.0),
                    "{what}: row {row}, step {step}: {a} and {b}"
                );
            }
        }
    }
    if ties == 0 {
        assert_eq!(
            residuals.0.keys().collect::<Vec<_>>(),
            found_residuals.0.keys().collect::<Vec<_>>(),
            "{what}"
        );
        for (key, values) in &residuals.0 {
            for (a, b) in values.iter().zip(&found_residuals.0[key]) {
                assert!(
                    (a - b).abs() < 1e-4 * a.abs().max(1.0),
                    "{what}: {key:?}: {a} and {b}"
                );
            }
        }
    }
    ties
}

fn check(model: &Model<CpuBackend>, prompts: &[Vec<u32>], name: &str) {
    for sampling in [Sampling::Greedy, SAMPLED] {
        let plain = Way {
            share: false,
            live: 1,
            continuous: false,
            resume: false,
        };
        let expected = generate(model, prompts, sampling, &plain);
        let lengths: Vec<usize> = expected.0.iter().map(|row| row.tokens.len()).collect();
        println!("{name} {sampling:?}: lengths {lengths:?}");
        let mut ties = 0;
        for (share, live, continuous, resume) in [
            (false, ROWS, true, true),
            (false, 4, true, true),
            (true, ROWS, true, true),
            (true, ROWS, true, false),
            (true, 3, true, true),
            (true, 3, false, true),
            (true, 1, true, true),
            (true, 5, true, false),
            (true, 2, false, false),
        ] {
            let way = Way {
                share,
                live,
                continuous,
                resume,
            };
            let what = format!(
                "{name} {sampling:?} share {share} live {live} continuous {continuous} resume {resume}"
            );
            ties += assert_same(&expected, &generate(model, prompts, sampling, &way), &what);
        }
        assert!(ties <= 2, "{name}: {ties} rows with a near-tie");
    }
}

#[test]
fn a_value_that_is_not_finite_is_named_where_it_arises_in_rows_that_share_keys() {
    let model = random_model::model(&CpuBackend, FAMILIES[0], 9);
    let prompts = vec![vec![4, 5, 6]];
    let mut workspace = model.workspace();
    let prefix = model.prefill_shared(&mut workspace, &prompts).unwrap();
    for resume in [true, false] {
        for (site, width) in [
            (Site::MlpPost(1), model.config().d_mlp),
            (Site::ResidPost(0), model.config().d_model),
        ] {
            let mut spoilt = vec![0.0; width];
            spoilt[3] = f32::NAN;
            let program = RowProgram {
                interventions: vec![RowIntervention {
                    rows: BatchRows::One(2),
                    site,
                    positions: Positions::Generated,
                    heads: None,
                    edit: Arc::new(Add::new(model.backend(), &spoilt).unwrap()),
                }],
            };
            let shared = Prompts::Shared {
                prefix: &prefix,
                rows: &[0, 0, 0],
            };
            let request = GenerationRequest::new(shared, 5)
                .eos_token_ids(&[])
                .program(&program)
                .resume_at_edit(resume);
            let error = model.generate(&mut workspace, request).unwrap_err().to_string();
            let place = format!("`{site}` is NaN at row 2, position 3, element 3");
            assert!(error.contains(&place), "{error}");
        }
    }
}

#[test]
fn every_way_equals_one_row_at_a_time() {
    for (index, family) in FAMILIES.into_iter().enumerate() {
        let model = random_model::model(&CpuBackend, family, 140 + index as u64);
        let mut numbers = Numbers::new(8);
        let prompts: Vec<Vec<u32>> = [6, 1, 9]
            .iter()
            .map(|&n| numbers.tokens(n, model.config()))
            .collect();
        check(&model, &prompts, &format!("{family:?}"));
    }
}

#[test]
fn every_way_equals_one_row_at_a_time_on_a_published_model() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/models/stories260k");
    if !folder.is_dir() {
        println!("skipped: {} is not there", folder.display());
        return;
    }
    let model = Model::open(CpuBackend, &folder).unwrap();
    let mut numbers = Numbers::new(8);
    let prompts: Vec<Vec<u32>> = [20, 4, 11]
        .iter()
        .map(|&n| numbers.tokens(n, model.config()))
        .collect();
    check(&model, &prompts, "stories260k");
}
