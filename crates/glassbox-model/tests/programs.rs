//! Row programs: every edit at every site does what it says, where it says, and a program that can't do so is an error.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::Arc;

use common::fixture::{largest, largest_difference};
use common::random_model::{self, FAMILIES, Numbers};
use glassbox_kernels::CpuBackend;
use glassbox_model::batch::TokenBatch;
use glassbox_model::cache::KvCache;
use glassbox_model::edit::{BatchRows, Positions, RowEdit, RowIntervention, RowProgram};
use glassbox_model::edits::{Add, Scale, Set, Zero};
use glassbox_model::forward::{ForwardOutput, ForwardRequest, LogitPositions, Residual, Start};
use glassbox_model::model::Model;
use glassbox_model::site::{Site, SiteAxes};

type Edit = Arc<dyn RowEdit<CpuBackend>>;
/// From an old value and its place in its row to the new one.
type Expected<'a> = dyn Fn(f32, usize) -> f32 + 'a;

fn one(site: Site, edit: Edit) -> RowIntervention<CpuBackend> {
    RowIntervention {
        rows: BatchRows::All,
        site,
        positions: Positions::All,
        heads: None,
        edit,
    }
}

fn only(intervention: RowIntervention<CpuBackend>) -> RowProgram<CpuBackend> {
    RowProgram {
        interventions: vec![intervention],
    }
}

fn run(model: &Model, rows: &[Vec<u32>], program: &RowProgram<CpuBackend>, sites: &[Site]) -> ForwardOutput {
    let batch = TokenBatch::from_rows(rows).unwrap();
    let request = ForwardRequest::new(&batch)
        .logits(LogitPositions::All)
        .program(program)
        .record(sites);
    model.forward(&mut model.workspace(), request).unwrap()
}

/// Element ranges of a recorded site that an edit of (row 1, position 2) touches.
fn touched(site: Site, model: &Model, heads: Option<&[u32]>, queries: usize) -> Vec<std::ops::Range<usize>> {
    // The second row is one shorter than the first, so its position 2 is column 3.
    let (row, column) = (1, 3);
    let span = |begin: usize, width: usize| begin * width..(begin + 1) * width;
    match site.axes(model.config()) {
        SiteAxes::Rows { width } => vec![span(row * queries + column, width)],
        SiteAxes::Heads { heads: count, width } => match heads {
            None => vec![span(row * queries + column, count * width)],
            Some(heads) => heads
                .iter()
                .map(|&head| span((row * queries + column) * count + head as usize, width))
                .collect(),
        },
        SiteAxes::Attention { heads: count } => (0..count as u32)
            .filter(|head| heads.is_none_or(|heads| heads.contains(head)))
            .map(|head| span((row * count + head as usize) * queries + column, queries))
            .collect(),
    }
}

#[test]
fn every_edit_at_every_site_changes_its_place_and_what_follows() {
    let backend = CpuBackend;
    for family in FAMILIES {
        let model = random_model::model(&backend, family, 14);
        let config = model.config();
        let mut numbers = Numbers::new(6);
        let rows = vec![numbers.tokens(5, config), numbers.tokens(4, config)];
        let sites = Site::all(config);
        let plain = run(&model, &rows, &RowProgram::default(), &sites);
        for (place, &site) in sites.iter().enumerate() {
            let axes = site.axes(config);
            for heads in [None, axes.heads().map(|_| vec![1])] {
                let ranges = touched(site, &model, heads.as_deref(), 5);
                let width = axes.edit_width(heads.is_some()).unwrap_or(5);
                let given = numbers.list(width, 0.6, 0.4);
                let edits: [(Edit, &Expected<'_>); 4] = [
                    (Arc::new(Set::new(&backend, &given).unwrap()), &|_, i| given[i]),
                    (Arc::new(Add::new(&backend, &given).unwrap()), &|x, i| {
                        x + given[i]
                    }),
                    (Arc::new(Scale(1.7)), &|x, _| x * 1.7),
                    (Arc::new(Zero), &|_, _| 0.0),
                ];
                for (edit, expected) in edits {
                    // A scale of zero is a division by zero; the diagnosis test below has it.
                    if matches!(site, Site::NormScale(_)) && expected(1.0, 0) == 0.0 {
                        continue;
                    }
                    let program = only(RowIntervention {
                        rows: BatchRows::One(1),
                        site,
                        positions: Positions::Absolute(vec![2]),
                        heads: heads.clone(),
                        edit,
                    });
                    let edited = run(&model, &rows, &program, &sites);
                    let what = format!("{family:?} {:?}", program.interventions[0]);

                    let before = &plain.recording.get(site).unwrap().values;
                    let after = &edited.recording.get(site).unwrap().values;
                    for (i, (&old, &new)) in before.iter().zip(after).enumerate() {
                        let inside = ranges.iter().find(|range| range.contains(&i));
                        let masked = matches!(site, Site::AttentionScores(_)) && old == f32::NEG_INFINITY;
                        let wanted = match inside {
                            Some(range) if !masked => expected(old, i - range.start),
                            _ => old,
                        };
                        let close = new == wanted || (new - wanted).abs() <= 1e-5 * wanted.abs().max(1.0);
                        assert!(close, "{what}: element {i} is {new}, not {wanted}");
                    }
                    for earlier in &sites[..place] {
                        let (old, new) = (
                            plain.recording.get(*earlier).unwrap(),
                            edited.recording.get(*earlier).unwrap(),
                        );
                        let difference = largest_difference(&new.values, &old.values);
                        assert!(
                            difference <= 1e-5 * largest_finite(&old.values),
                            "{what} changed {earlier}"
                        );
                    }
                    // The logits of position 2 change, unless the final norm undoes a mere scaling of its input; those
                    // of the other row and of earlier positions do not.
                    let undone = site == Site::ResidPost(2) && expected(1.0, 0) == 1.7;
                    for at in &plain.logits.positions {
                        let old = plain.logits.at(at.row, at.position).unwrap();
                        let difference =
                            largest_difference(edited.logits.at(at.row, at.position).unwrap(), old);
                        if at.row == 0 || at.position < 2 {
                            assert!(difference <= 1e-5 * largest(old), "{what} reached {at:?}");
                        } else if at.position == 2 && !undone {
                            assert!(difference > 1e-5, "{what} changed nothing");
                        }
                    }
                }
            }
        }
    }
}

fn largest_finite(values: &[f32]) -> f32 {
    values
        .iter()
        .filter(|x| x.is_finite())
        .fold(0.0, |largest, x| largest.max(x.abs()))
}

#[test]
fn a_value_set_at_the_end_of_a_block_is_the_next_blocks_input() {
    let backend = CpuBackend;
    for family in FAMILIES {
        let model = random_model::model(&backend, family, 14);
        let mut numbers = Numbers::new(6);
        let rows = vec![numbers.tokens(3, model.config())];
        // A patch from another run: other values at every position.
        let values = numbers.list(3 * model.config().d_model, 0.0, 1.0);
        let patch = Arc::new(Set::rows(&backend, &values, model.config().d_model).unwrap());
        let program = only(one(Site::ResidPost(0), patch));
        let output = run(&model, &rows, &program, &[Site::ResidPost(0), Site::ResidPre(1)]);
        assert_eq!(output.recording.get(Site::ResidPost(0)).unwrap().values, values);
        assert_eq!(output.recording.get(Site::ResidPre(1)).unwrap().values, values);
        let batch = TokenBatch::from_rows(&rows).unwrap();
        let start = Start::Layer {
            layer: 1,
            residual: Residual::Host(&values),
        };
        let request = ForwardRequest::new(&batch)
            .logits(LogitPositions::All)
            .start(start);
        let from_values = model.forward(&mut model.workspace(), request).unwrap();
        let difference = largest_difference(&output.logits.values, &from_values.logits.values);
        assert!(difference <= 1e-5 * largest(&from_values.logits.values));
    }
}

#[test]
fn edited_keys_and_values_stay_in_the_cache() {
    let backend = CpuBackend;
    for family in FAMILIES {
        let model = random_model::model(&backend, family, 9);
        let mut numbers = Numbers::new(6);
        let tokens = numbers.tokens(6, model.config());
        let mut sites = vec![Site::Key(1), Site::Value(1)];
        if family != FAMILIES[3] {
            sites.push(Site::RotaryKey(1));
        }
        for site in sites {
            let program = only(RowIntervention {
                positions: Positions::Absolute(vec![1]),
                ..one(site, Arc::new(Scale(-2.0)))
            });
            let full = run(&model, std::slice::from_ref(&tokens), &program, &[]);
            let mut workspace = model.workspace();
            let mut cache = KvCache::new(&backend, model.config(), 1, 6);
            let batch = TokenBatch::from_row(&tokens[..3]).unwrap();
            model
                .forward(
                    &mut workspace,
                    ForwardRequest::new(&batch).cache(&mut cache).program(&program),
                )
                .unwrap();
            let batch = TokenBatch::from_row(&tokens[3..]).unwrap();
            let output = model
                .forward(&mut workspace, ForwardRequest::new(&batch).cache(&mut cache))
                .unwrap();
            let expected = full.logits.at(0, 5).unwrap();
            assert!(
                largest_difference(output.logits.row(0), expected) <= 1e-5 * largest(expected),
                "{site}"
            );
            let plain = run(&model, std::slice::from_ref(&tokens), &RowProgram::default(), &[]);
            assert!(
                largest_difference(expected, plain.logits.at(0, 5).unwrap()) > 1e-4,
                "{site} has no effect"
            );
        }
    }
}

#[test]
fn interventions_at_one_place_act_in_the_programs_order() {
    let backend = CpuBackend;
    let model = random_model::model(&backend, FAMILIES[0], 9);
    let width = model.config().d_model;
    let set: Edit = Arc::new(Set::new(&backend, &vec![2.0; width]).unwrap());
    let scale: Edit = Arc::new(Scale(3.0));
    for (edits, expected) in [([&set, &scale], 6.0), ([&scale, &set], 2.0)] {
        let interventions = edits
            .iter()
            .map(|edit| one(Site::ResidMid(1), Arc::clone(edit)))
            .collect();
        let output = run(
            &model,
            &[vec![4, 5]],
            &RowProgram { interventions },
            &[Site::ResidMid(1)],
        );
        assert_eq!(
            output.recording.get(Site::ResidMid(1)).unwrap().values,
            vec![expected; 2 * width]
        );
    }
}

#[test]
fn positions_mean_what_they_say() {
    let backend = CpuBackend;
    let model = random_model::model(&backend, FAMILIES[0], 9);
    let rows = vec![vec![4, 5, 6, 7, 8], vec![4, 5, 6]];
    let lengths = [3, 2];
    for (positions, expected) in [
        (Positions::All, [vec![0, 1, 2, 3, 4], vec![0, 1, 2]]),
        (Positions::Absolute(vec![1, 4]), [vec![1, 4], vec![1]]),
        (Positions::LastOfPrompt, [vec![2], vec![1]]),
        (Positions::Generated, [vec![3, 4], vec![2]]),
        (Positions::LastAndGenerated, [vec![2, 3, 4], vec![1, 2]]),
    ] {
        let program = only(RowIntervention {
            positions,
            ..one(Site::ResidPre(0), Arc::new(Zero))
        });
        let batch = TokenBatch::from_rows(&rows).unwrap();
        let request = ForwardRequest::new(&batch)
            .program(&program)
            .prompt_lengths(&lengths)
            .record(&[Site::ResidPre(0)]);
        let output = model.forward(&mut model.workspace(), request).unwrap();
        for (row, expected) in expected.iter().enumerate() {
            let zeros: Vec<u32> = (0..rows[row].len() as u32)
                .filter(|&p| largest(output.recording.at(Site::ResidPre(0), row, p).unwrap()) == 0.0)
                .collect();
            assert_eq!(
                &zeros, expected,
                "{:?} row {row}",
                program.interventions[0].positions
            );
        }
    }
}

#[test]
fn patterns_select_among_the_models_own_sites() {
    let gpt2 = random_model::config(FAMILIES[3]);
    let llama = random_model::config(FAMILIES[0]);
    assert_eq!(
        Site::select("blocks.*.hook_resid_post", &llama).unwrap(),
        [Site::ResidPost(0), Site::ResidPost(1), Site::ResidPost(2)]
    );
    assert_eq!(
        Site::select("blocks.{0,2}.attn.hook_rot_?", &llama)
            .unwrap()
            .len(),
        4
    );
    assert_eq!(Site::select("*", &gpt2).unwrap(), Site::all(&gpt2));
    let error = Site::select("blocks.*.attn.hook_rot_q", &gpt2)
        .unwrap_err()
        .to_string();
    assert!(error.contains("selects no site"), "{error}");
    assert!(Site::select("blocks.[", &gpt2).is_err());
    let error = Site::parse("blocks.3.hook_resid_post", &llama)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("its blocks are 0 to 2") && error.contains("blocks.2.hook_resid_post"),
        "{error}"
    );
    let error = Site::parse("blocks.1.hook_resid", &llama)
        .unwrap_err()
        .to_string();
    assert!(error.contains("blocks.1.hook_resid_pre"), "{error}");
}
