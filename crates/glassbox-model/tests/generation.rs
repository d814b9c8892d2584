//! Generation: equal to the naive loop, whatever the batch, with the right ends and with random numbers that belong to
//! the trial.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::Arc;

use common::fixture;
use common::random_model::{self, FAMILIES, Numbers};
use glassbox_kernels::{Backend, CpuBackend};
use glassbox_model::batch::TokenBatch;
use glassbox_model::edit::{BatchRows, Positions, RowIntervention, RowProgram};
use glassbox_model::edits::Add;
use glassbox_model::forward::{ForwardRequest, SiteView, SiteVisitor};
use glassbox_model::forward_error::VisitError;
use glassbox_model::generate::{
    ChosenToken, Generated, GenerationObserver, GenerationRequest, Prompts, StopReason, StopRule, TokenText,
    TokenTextStream,
};
use glassbox_model::model::Model;
use glassbox_model::random::RandomKey;
use glassbox_model::sampling::{RandomSampling, Sampler, Sampling};
use glassbox_model::site::Site;

const SAMPLED: Sampling = Sampling::Random(RandomSampling {
    temperature: 0.9,
    top_k: Some(20),
    top_p: Some(0.95),
});

fn keys(count: usize) -> Vec<RandomKey> {
    (0..count as u64)
        .map(|trial| RandomKey {
            run_seed: 1,
            prompt: 5,
            trial,
        })
        .collect()
}

/// An edit of each row's predictions, different in every row.
fn program(model: &Model, rows: usize, positions: &Positions) -> RowProgram<CpuBackend> {
    let mut numbers = Numbers::new(77);
    let intervention = |row: usize| RowIntervention {
        rows: BatchRows::One(row as u32),
        site: Site::ResidPost(1),
        positions: positions.clone(),
        heads: None,
        edit: Arc::new(Add::new(model.backend(), &numbers.list(model.config().d_model, 0.0, 1.5)).unwrap()),
    };
    RowProgram {
        interventions: (0..rows).map(intervention).collect(),
    }
}

/// One row's generation by full recomputation at every step.
fn naive(
    model: &Model,
    prompt: &[u32],
    program: &RowProgram<CpuBackend>,
    row: u32,
    sampling: Sampling,
    key: RandomKey,
    max_new: usize,
) -> Generated {
    let own = program
        .interventions
        .iter()
        .filter(|i| i.rows == BatchRows::One(row));
    let program = RowProgram {
        interventions: own
            .map(|i| RowIntervention {
                rows: BatchRows::All,
                ..i.clone()
            })
            .collect(),
    };
    let mut tokens = prompt.to_vec();
    let (mut sampler, mut numbers) = (Sampler::default(), key.numbers());
    let stop = loop {
        let batch = TokenBatch::from_row(&tokens).unwrap();
        let lengths = [prompt.len() as u32];
        let request = ForwardRequest::new(&batch)
            .program(&program)
            .prompt_lengths(&lengths);
        let output = model.forward(&mut model.workspace(), request).unwrap();
        let logits = output.logits.row(0);
        let step = tokens.len() - prompt.len();
        let token = match sampling {
            Sampling::Greedy => (0..logits.len())
                .max_by(|&a, &b| logits[a].total_cmp(&logits[b]))
                .unwrap() as u32,
            Sampling::Random(how) => sampler.choose(logits, &how, &mut numbers, step as u64),
        };
        tokens.push(token);
        if model.config().eos_token_ids.contains(&token) {
            break StopReason::EndOfSequence;
        }
        if step + 1 == max_new {
            break StopReason::MaxNewTokens;
        }
    };
    Generated {
        tokens: tokens.split_off(prompt.len()),
        stop,
        top_logits: Vec::new(),
    }
}

#[test]
fn equals_the_naive_loop_in_a_batch_and_from_a_shared_prefix() {
    let mut ended = 0;
    for (index, family) in FAMILIES.into_iter().enumerate() {
        let model = random_model::model(&CpuBackend, family, 40 + index as u64);
        let mut numbers = Numbers::new(8);
        let prompts: Vec<Vec<u32>> = [6, 1, 9]
            .iter()
            .map(|&n| numbers.tokens(n, model.config()))
            .collect();
        let which: Vec<u32> = (0..9).map(|row| row % 3).collect();
        let own: Vec<Vec<u32>> = which
            .iter()
            .map(|&prompt| prompts[prompt as usize].clone())
            .collect();
        let (keys, program) = (
            keys(own.len()),
            program(&model, own.len(), &Positions::LastAndGenerated),
        );
        let mut workspace = model.workspace();
        for sampling in [Sampling::Greedy, SAMPLED] {
            let expected: Vec<Generated> = (0..own.len())
                .map(|row| naive(&model, &own[row], &program, row as u32, sampling, keys[row], 20))
                .collect();
            ended += expected
                .iter()
                .filter(|row| row.stop == StopReason::EndOfSequence)
                .count();
            let prefix = model.prefill_shared(&mut workspace, &prompts).unwrap();
            let shared = Prompts::Shared {
                prefix: &prefix,
                rows: &which,
            };
            for from in [Prompts::Own(&own), shared] {
                let request = GenerationRequest::new(from, 20)
                    .sampling(sampling, &keys)
                    .program(&program);
                assert_eq!(
                    model.generate(&mut workspace, request).unwrap(),
                    expected,
                    "{family:?} {sampling:?}"
                );
            }
        }
    }
    assert!(
        ended > 5,
        "only {ended} rows ended early, so dropping rows was hardly tested"
    );
}

#[test]
fn random_numbers_belong_to_the_trial_not_to_the_batch() {
    let model = random_model::model(&CpuBackend, FAMILIES[0], 2);
    let prompts = vec![vec![5, 6, 7]; 6];
    let keys = keys(6);
    let mut workspace = model.workspace();
    let mut run = |rows: &[usize]| {
        let prompts: Vec<Vec<u32>> = rows.iter().map(|&row| prompts[row].clone()).collect();
        let keys: Vec<RandomKey> = rows.iter().map(|&row| keys[row]).collect();
        let request = GenerationRequest::new(Prompts::Own(&prompts), 12).sampling(SAMPLED, &keys);
        model.generate(&mut workspace, request).unwrap()
    };
    let all = run(&[0, 1, 2, 3, 4, 5]);
    assert_eq!(run(&[4, 1]), [all[4].clone(), all[1].clone()]);
    assert!(all.iter().any(|row| row.tokens != all[0].tokens), "trials differ");
}

#[test]
fn greedy_continuations_equal_transformers() {
    for fixture in fixture::all() {
        let Some(prompt) = fixture.integers.get("greedy.prompt") else {
            continue;
        };
        let expected = fixture.integers["greedy.continuation"].rows().remove(0);
        let model = fixture.model();
        let prompts = prompt.rows();
        let request = GenerationRequest::new(Prompts::Own(&prompts), expected.len());
        let generated = model.generate(&mut model.workspace(), request).unwrap();
        assert_eq!(generated[0].tokens, expected, "{}", fixture.name);
    }
}

/// Token 0 is "A", 1 is "B", ….
struct Letters;

impl TokenText for Letters {
    fn after(&self, _prompt: &[u32]) -> Result<Box<dyn TokenTextStream + '_>, VisitError> {
        Ok(Box::new(Self))
    }
}

impl TokenTextStream for Letters {
    fn push(&mut self, token: u32) -> Result<String, VisitError> {
        Ok(letter(token).to_string())
    }
}

fn letter(token: u32) -> char {
    char::from_u32(u32::from('A') + token).unwrap()
}

/// Stops row 1 after its third token, and keeps what it saw.
struct ThirdOfRowOne(Vec<String>);

impl StopRule for ThirdOfRowOne {
    fn stops(&mut self, row: usize, tokens: &[u32], text: Option<&str>) -> bool {
        if row == 1 {
            self.0.push(text.unwrap().to_owned());
        }
        row == 1 && tokens.len() == 3
    }
}

#[test]
fn every_reason_to_stop() {
    let model = random_model::model(&CpuBackend, FAMILIES[0], 6);
    let longest = model.config().max_positions;
    let mut numbers = Numbers::new(3);
    let prompts = vec![
        numbers.tokens(4, model.config()),
        numbers.tokens(5, model.config()),
        numbers.tokens(longest - 2, model.config()),
    ];
    let mut workspace = model.workspace();
    // Without an end token, and with letters for tokens.
    let free = GenerationRequest::new(Prompts::Own(&prompts), 10).eos_token_ids(&[]);
    let free = model.generate(&mut workspace, free).unwrap();
    assert_eq!(free[0].stop, StopReason::MaxNewTokens);
    assert_eq!(free[0].tokens.len(), 10);
    // Two places are left, and a token more is predicted at the last.
    assert_eq!(free[2].stop, StopReason::ContextFull);
    assert_eq!(free[2].tokens.len(), 3);

    let end = free[0].tokens[4];
    let first = free[0].tokens.iter().position(|&token| token == end).unwrap();
    let ends = [end];
    let request = GenerationRequest::new(Prompts::Own(&prompts), 10).eos_token_ids(&ends);
    let ended = model.generate(&mut workspace, request).unwrap();
    assert_eq!(ended[0].stop, StopReason::EndOfSequence);
    assert_eq!(ended[0].tokens, free[0].tokens[..=first]);

    let text: String = free[0].tokens.iter().map(|&token| letter(token)).collect();
    let stops = ["~".to_owned(), text[3..6].to_owned()];
    let mut rule = ThirdOfRowOne(Vec::new());
    let request = GenerationRequest::new(Prompts::Own(&prompts), 10)
        .eos_token_ids(&[])
        .text(&Letters)
        .stop_strings(&stops)
        .stop_rule(&mut rule);
    let stopped = model.generate(&mut workspace, request).unwrap();
    assert_eq!(stopped[0].stop, StopReason::StopString(1));
    assert_eq!(stopped[0].tokens.len(), text.find(&stops[1]).unwrap() + 3);
    assert_eq!(stopped[1].stop, StopReason::Rule);
    assert_eq!(stopped[1].tokens, free[1].tokens[..3]);
    let prefixes: Vec<String> = (1..=3)
        .map(|n| free[1].tokens[..n].iter().map(|&token| letter(token)).collect())
        .collect();
    assert_eq!(rule.0, prefixes);
}

/// Reads `blocks.2.hook_resid_post` of every live row's predictions.
#[derive(Default)]
struct Residuals {
    seen: Vec<(u32, u32, Vec<f32>)>,
    chosen: Vec<(usize, ChosenToken)>,
}

impl SiteVisitor<CpuBackend> for Residuals {
    fn wants(&self, site: Site) -> bool {
        site == Site::ResidPost(2)
    }

    fn visit(&mut self, backend: &CpuBackend, view: &SiteView<'_, CpuBackend>) -> Result<(), VisitError> {
        let values = view.read(backend)?;
        let width = values.len() / view.layout.batch() / view.layout.queries();
        for (i, chunk) in values.chunks(width).enumerate() {
            let (row, query) = (i / view.layout.queries(), i % view.layout.queries());
            if let Some(position) = view.layout.position(row, query)
                && position + 1 >= view.layout.prompt_length(row)
            {
                self.seen
                    .push((view.layout.row_id(row), position, chunk.to_vec()));
            }
        }
        Ok(())
    }
}

impl GenerationObserver<CpuBackend> for Residuals {
    fn chosen(&mut self, step: usize, tokens: &[ChosenToken]) -> Result<(), VisitError> {
        self.chosen.extend(tokens.iter().map(|&token| (step, token)));
        Ok(())
    }
}

#[test]
fn an_observer_sees_what_a_replay_records() {
    let model = random_model::model(&CpuBackend, FAMILIES[2], 12);
    let mut numbers = Numbers::new(8);
    let prompts: Vec<Vec<u32>> = [3, 7, 4, 5]
        .iter()
        .map(|&n| numbers.tokens(n, model.config()))
        .collect();
    let (keys, program) = (keys(4), program(&model, 4, &Positions::LastAndGenerated));
    let mut observer = Residuals::default();
    let mut workspace = model.workspace();
    let request = GenerationRequest::new(Prompts::Own(&prompts), 12)
        .sampling(SAMPLED, &keys)
        .program(&program)
        .top_logits(3)
        .observer(&mut observer);
    let generated = model.generate(&mut workspace, request).unwrap();

    let replayed: Vec<Vec<u32>> = prompts
        .iter()
        .zip(&generated)
        .map(|(prompt, row)| [prompt.as_slice(), &row.tokens].concat())
        .collect();
    let lengths: Vec<u32> = prompts.iter().map(|prompt| prompt.len() as u32).collect();
    let batch = TokenBatch::from_rows(&replayed).unwrap();
    let request = ForwardRequest::new(&batch)
        .program(&program)
        .prompt_lengths(&lengths)
        .record(&[Site::ResidPost(2)]);
    let replay = model.forward(&mut workspace, request).unwrap();

    let total: usize = generated.iter().map(|row| row.tokens.len()).sum();
    assert_eq!((observer.seen.len(), observer.chosen.len()), (total, total));
    for (row, position, values) in &observer.seen {
        let recorded = replay
            .recording
            .at(Site::ResidPost(2), *row as usize, *position)
            .unwrap();
        assert!(fixture::largest_difference(values, recorded) <= 1e-5 * fixture::largest(recorded));
    }
    for (step, chosen) in &observer.chosen {
        let row = &generated[chosen.row as usize];
        assert_eq!(row.tokens[*step], chosen.token);
        assert_eq!(
            chosen.position as usize,
            prompts[chosen.row as usize].len() + step - 1
        );
        assert_eq!(chosen.stopped, (step + 1 == row.tokens.len()).then_some(row.stop));
        assert_eq!(row.top_logits[*step].indices.len(), 3);
    }
}

#[test]
fn requests_that_cannot_be_met_are_refused() {
    let model = random_model::model(&CpuBackend, FAMILIES[1], 2);
    let config = model.config();
    let mut workspace = model.workspace();
    let mut refused = |request: GenerationRequest<'_, CpuBackend>, says: &str| {
        let error = model.generate(&mut workspace, request).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    };
    let good = vec![vec![1, 2, 3]];
    refused(GenerationRequest::new(Prompts::Own(&[]), 5), "no rows");
    refused(GenerationRequest::new(Prompts::Own(&[vec![]]), 5), "BOS");
    refused(
        GenerationRequest::new(Prompts::Own(&[vec![1, 29]]), 5),
        "token id 29 is outside the vocabulary",
    );
    let long = [vec![1; config.max_positions + 1]];
    refused(
        GenerationRequest::new(Prompts::Own(&long), 5),
        "49 positions, the model's context holds 48",
    );
    refused(
        GenerationRequest::new(Prompts::Own(&good), 0),
        "max_new_tokens is 0",
    );
    refused(
        GenerationRequest::new(Prompts::Own(&good), 5).sampling(SAMPLED, &[]),
        "0 random keys for 1 rows",
    );
    let cold = Sampling::Random(RandomSampling {
        temperature: 0.0,
        top_k: None,
        top_p: None,
    });
    refused(
        GenerationRequest::new(Prompts::Own(&good), 5).sampling(cold, &keys(1)),
        "greedy",
    );
    let stops = ["x".to_owned()];
    refused(
        GenerationRequest::new(Prompts::Own(&good), 5).stop_strings(&stops),
        "tokenizer",
    );

    // A program that never gets to act is an error, as is one that would have to change a shared prefix.
    let program = program(&model, 1, &Positions::Absolute(vec![30]));
    refused(
        GenerationRequest::new(Prompts::Own(&good), 5).program(&program),
        "position 30 is never computed",
    );
    refused(
        GenerationRequest::new(Prompts::Own(&good), 30)
            .eos_token_ids(&(0..29).collect::<Vec<_>>())
            .program(&program),
        "never fired",
    );
    let prefix = model.prefill_shared(&mut model.workspace(), &good).unwrap();
    let shared = Prompts::Shared {
        prefix: &prefix,
        rows: &[0],
    };
    for positions in [Positions::All, Positions::Absolute(vec![1])] {
        let program = self::program(&model, 1, &positions);
        refused(
            GenerationRequest::new(shared, 5).program(&program),
            "shared prefix",
        );
    }
    refused(
        GenerationRequest::new(
            Prompts::Shared {
                prefix: &prefix,
                rows: &[1],
            },
            5,
        ),
        "prompts 0 to 0",
    );
}

#[test]
fn works_on_any_backend() {
    fn tokens<B: Backend>(backend: &B) -> Vec<Vec<u32>> {
        let model = random_model::model(backend, FAMILIES[0], 21);
        let prompts = [vec![3, 4], vec![5, 6, 7]];
        let keys = keys(2);
        let request = GenerationRequest::new(Prompts::Own(&prompts), 8).sampling(SAMPLED, &keys);
        let generated = model.generate(&mut model.workspace(), request).unwrap();
        generated.into_iter().map(|row| row.tokens).collect()
    }
    assert_eq!(tokens(&CpuBackend), tokens(&glassbox_kernels::ReferenceBackend));
}

#[test]
fn many_and_long_prompts_are_computed_in_pieces() {
    for family in FAMILIES {
        let model = random_model::model(&CpuBackend, family, 33);
        let mut numbers = Numbers::new(4);
        // Pieces are a few positions wide here, so that short rows begin in a later one.
        let prompts: Vec<Vec<u32>> = (0..300)
            .map(|row| numbers.tokens(1 + row * 7 % 29, model.config()))
            .collect();
        let (keys, program) = (keys(300), program(&model, 300, &Positions::LastAndGenerated));
        let mut workspace = model.workspace();
        let request = GenerationRequest::new(Prompts::Own(&prompts), 4)
            .sampling(SAMPLED, &keys)
            .program(&program);
        let own = model.generate(&mut workspace, request).unwrap();
        let prefix = model.prefill_shared(&mut workspace, &prompts).unwrap();
        let rows: Vec<u32> = (0..300).collect();
        let request = GenerationRequest::new(
            Prompts::Shared {
                prefix: &prefix,
                rows: &rows,
            },
            4,
        )
        .sampling(SAMPLED, &keys)
        .program(&program);
        assert_eq!(model.generate(&mut workspace, request).unwrap(), own);
        for row in (0..300).step_by(23) {
            let alone = naive(&model, &prompts[row], &program, row as u32, SAMPLED, keys[row], 4);
            assert_eq!(own[row], alone, "{family:?} row {row}");
        }
    }
}

#[test]
fn prompts_of_one_token_share_nothing_and_work() {
    let model = random_model::model(&CpuBackend, FAMILIES[0], 33);
    let prompts = [vec![5], vec![9]];
    let mut workspace = model.workspace();
    let prefix = model.prefill_shared(&mut workspace, &prompts).unwrap();
    let shared = Prompts::Shared {
        prefix: &prefix,
        rows: &[0, 1],
    };
    let from_prefix = model
        .generate(&mut workspace, GenerationRequest::new(shared, 6))
        .unwrap();
    let own = model
        .generate(&mut workspace, GenerationRequest::new(Prompts::Own(&prompts), 6))
        .unwrap();
    assert_eq!(from_prefix, own);
}

#[test]
fn thread_counts_change_no_bit() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let config = random_model::wide_config(FAMILIES[0]);
            let model = random_model::model_of(&CpuBackend, config, 3);
            let mut numbers = Numbers::new(4);
            let prompts: Vec<Vec<u32>> = (0..40).map(|_| numbers.tokens(12, model.config())).collect();
            let keys = keys(40);
            let request = GenerationRequest::new(Prompts::Own(&prompts), 8)
                .sampling(SAMPLED, &keys)
                .top_logits(5);
            let generated = model.generate(&mut model.workspace(), request).unwrap();
            let bits = |row: &Generated| -> Vec<u32> {
                row.top_logits
                    .iter()
                    .flat_map(|top| &top.values)
                    .map(|x| x.to_bits())
                    .collect()
            };
            generated
                .iter()
                .map(|row| (row.tokens.clone(), bits(row)))
                .collect::<Vec<_>>()
        })
    };
    let one = run(1);
    assert_eq!(one, run(2));
    assert_eq!(one, run(3));
}
