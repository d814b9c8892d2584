//! Screens on the shipped model: equal to finite differences for small edits, exact where nothing nonlinear follows, complete
//! along a path.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use glassbox_dictionary::FeatureEdit;
use glassbox_experiment::Scenario;
use glassbox_experiment::decision::ArmEdit;
use glassbox_experiment::events::Silent;
use glassbox_experiment::prompts::{Prompt, PromptSets};
use glassbox_experiment::readout::{Readout, ScreenTarget};
use glassbox_experiment::run::{RunRequest, run};
use glassbox_experiment::scenario::{InterventionPositions, SelectionRank};
use glassbox_experiment::screen::{Passes, Screen, ScreenMode};
use glassbox_experiment::screen_stage::{ScreenSettings, screen};
use glassbox_experiment::select::select;
use glassbox_experiment::session::Session;
use glassbox_experiment::tables::{DecisionEffectRow, DecisionRow, ScreenRow, SelectionRow};
use glassbox_model::edit::Positions;

struct Bench {
    scenario: Scenario,
    session: Session,
    prompts: PromptSets,
}

impl Bench {
    fn new() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/demo/scenario.toml");
        let mut scenario = Scenario::read(&path).unwrap();
        scenario.select.max_prompts = 12;
        // At the prompt's end alone the last block's features could not reach the decision, which is read after a prefix.
        scenario.sweep.positions = InterventionPositions::LastAndGenerated;
        Self {
            session: Session::load(&scenario).unwrap(),
            prompts: PromptSets::read(&scenario).unwrap(),
            scenario,
        }
    }

    fn decision(&self) -> ScreenTarget {
        ScreenTarget::Decision {
            settings: self.scenario.decision.clone().unwrap(),
            outcome: self.scenario.outcome.target.clone(),
        }
    }

    /// The scalar of a prompt under each edit.
    fn exact(&self, readout: &Readout, edits: &[ArmEdit]) -> Vec<f64> {
        let mut workspace = self.session.model().workspace();
        readout
            .values(
                &self.session,
                &mut workspace,
                edits,
                &Positions::LastAndGenerated,
                32,
            )
            .unwrap()
    }

    fn effects(
        &self,
        target: &ScreenTarget,
        mode: ScreenMode,
        steps: u32,
        values: (f32, f32),
        prompt: &Prompt,
    ) -> Vec<Vec<f32>> {
        let positions = InterventionPositions::LastAndGenerated;
        let means = |_: u32, features: usize| (vec![values.0; features], vec![values.1; features]);
        let screen = Screen::new(&self.session, target, mode, positions, steps, means).unwrap();
        let readout = target.readout(&self.session, prompt).unwrap();
        let mut workspace = self.session.model().workspace();
        screen
            .effects(&mut workspace, &readout, &mut Passes::default())
            .unwrap()
            .1
    }

    fn edit(&self, layer: u32, edit: FeatureEdit) -> ArmEdit {
        Some((
            layer,
            edit.compile(&self.session.dictionary(layer).unwrap()).unwrap(),
        ))
    }
}

#[test]
fn small_edits_have_the_effect_that_the_screen_says() {
    let bench = Bench::new();
    let prompt = &bench.prompts.select[0];
    let middle = bench.session.layers()[2];
    for target in [
        bench.decision(),
        ScreenTarget::Feature {
            layer: middle,
            feature: 7,
        },
    ] {
        let effects = bench.effects(&target, ScreenMode::Values, 1, (0.0, 1.0), prompt);
        let readout = target.readout(&bench.session, prompt).unwrap();
        let step = 0.1_f32;
        let layers: Vec<u32> = bench
            .session
            .layers()
            .into_iter()
            .filter(|&layer| target.reaches(layer))
            .collect();
        let mut compared = 0;
        for (place, &layer) in layers.iter().enumerate() {
            let largest = effects[place]
                .iter()
                .fold(0.0_f32, |largest, effect| largest.max(effect.abs()));
            let features: Vec<u32> = (0..effects[place].len() as u32).step_by(97).collect();
            let edits: Vec<ArmEdit> = features
                .iter()
                .flat_map(|&feature| {
                    [-2.0 * step, -step, step, 2.0 * step].map(|strength| (feature, strength))
                })
                .map(|(feature, strength)| {
                    bench.edit(layer, FeatureEdit::AddDecoderDirection { feature, strength })
                })
                .collect();
            let values = bench.exact(&readout, &edits);
            for (feature, values) in features.into_iter().zip(values.chunks(4)) {
                // Two central differences, extrapolated to a step of zero.
                let slope =
                    (8.0 * (values[2] - values[1]) - (values[3] - values[0])) / f64::from(12.0 * step);
                let found = f64::from(effects[place][feature as usize]);
                assert!(
                    (found - slope).abs() <= 1e-3 * f64::from(largest),
                    "{} L{layer}-{feature}: {found} instead of {slope}",
                    target.name()
                );
                compared += 1;
            }
        }
        assert!(compared > 10, "{compared}");
    }
}

/// The shipped model with blocks that add nothing: every block's output is its input.
fn write_model_of_empty_blocks(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for name in ["config.json", "tokenizer.json"] {
        std::fs::copy(from.join(name), to.join(name)).unwrap();
    }
    let mut bytes = std::fs::read(from.join("model.safetensors")).unwrap();
    let header_bytes = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header_bytes]).unwrap();
    let mut emptied = 0;
    for (name, tensor) in header.as_object().unwrap() {
        if name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight") {
            let offset = |i: usize| 8 + header_bytes + tensor["data_offsets"][i].as_u64().unwrap() as usize;
            bytes[offset(0)..offset(1)].fill(0);
            emptied += 1;
        }
    }
    assert!(emptied >= 12);
    std::fs::write(to.join("model.safetensors"), bytes).unwrap();
}

/// The shipped dictionaries without the hash of the model that they belong to.
fn copy_without_model(from: &Path, to: &Path) {
    for layer in std::fs::read_dir(from).unwrap() {
        let layer = layer.unwrap();
        let copy = to.join(layer.file_name());
        std::fs::create_dir_all(&copy).unwrap();
        let weights = "dictionary.safetensors";
        std::fs::copy(layer.path().join(weights), copy.join(weights)).unwrap();
        let settings = std::fs::read(layer.path().join("dictionary.json")).unwrap();
        let mut settings: serde_json::Value = serde_json::from_slice(&settings).unwrap();
        settings["model"]["hash"] = serde_json::Value::Null;
        std::fs::write(copy.join("dictionary.json"), settings.to_string()).unwrap();
    }
}

#[test]
fn where_nothing_nonlinear_follows_the_first_order_effect_is_the_exact_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::new();
    write_model_of_empty_blocks(
        &bench.scenario.path(&bench.scenario.model),
        &folder.path().join("model"),
    );
    let dictionaries = folder.path().join("dictionaries");
    copy_without_model(&bench.scenario.path(&bench.scenario.dictionaries), &dictionaries);
    bench.scenario.model = folder.path().join("model").display().to_string();
    bench.scenario.dictionaries = dictionaries.display().to_string();
    bench.session = Session::load(&bench.scenario).unwrap();
    let prompt = &bench.prompts.select[1];
    let layers = bench.session.layers();
    let target = ScreenTarget::Feature {
        layer: layers[3],
        feature: 11,
    };
    let readout = target.readout(&bench.session, prompt).unwrap();
    let (a, b) = (-1.5, 6.0);
    let effects = bench.effects(&target, ScreenMode::Values, 1, (a, b), prompt);
    for (place, &layer) in layers[..3].iter().enumerate() {
        for feature in [0, 5, 900] {
            let edits = [a, b].map(|value| bench.edit(layer, FeatureEdit::SetByDelta { feature, value }));
            let values = bench.exact(&readout, &edits);
            let (exact, found) = (values[1] - values[0], f64::from(effects[place][feature as usize]));
            assert!(
                (found - exact).abs() <= 1e-4 * exact.abs().max(1.0),
                "L{layer}-{feature}: {found} instead of {exact}"
            );
        }
    }
}

#[test]
fn effects_along_a_path_add_up_to_the_whole_change() {
    let bench = Bench::new();
    let prompt = &bench.prompts.select[2];
    let target = bench.decision();
    let readout = target.readout(&bench.session, prompt).unwrap();
    let unchanged = bench.exact(&readout, &[None])[0];
    let layers = bench.session.layers();
    let sums = |steps| -> Vec<f64> {
        bench
            .effects(&target, ScreenMode::Zero, steps, (0.0, 0.0), prompt)
            .iter()
            .map(|effects| effects.iter().map(|effect| f64::from(*effect)).sum())
            .collect()
    };
    let (one, many) = (sums(1), sums(48));
    let (mut error_of_one, mut error_of_many, mut changes) = (0.0, 0.0, 0.0);
    for (place, &layer) in layers.iter().enumerate() {
        // All features at zero leave the residual without the dictionary's contribution.
        let dictionary = bench.session.dictionary(layer).unwrap();
        let all: Vec<ArmEdit> = vec![Some((
            layer,
            std::sync::Arc::new(WithoutContribution(dictionary)),
        ))];
        let change = bench.exact(&readout, &all)[0] - unchanged;
        error_of_one += (one[place] - change).abs();
        error_of_many += (many[place] - change).abs();
        changes += change.abs();
    }
    assert!(error_of_many < 0.05 * changes, "{error_of_many} of {changes}");
    assert!(
        error_of_many < error_of_one,
        "{error_of_many} against {error_of_one}"
    );
}

/// Takes a dictionary's contribution, without its bias, out of the residual.
#[derive(Debug)]
struct WithoutContribution(std::sync::Arc<glassbox_dictionary::Dictionary>);

impl glassbox_model::edit::RowEdit<glassbox_kernels::CpuBackend> for WithoutContribution {
    fn width(&self) -> Option<usize> {
        Some(self.0.width())
    }

    fn apply(
        &self,
        backend: &glassbox_kernels::CpuBackend,
        x: &mut <glassbox_kernels::CpuBackend as glassbox_kernels::Backend>::Buffer,
        width: usize,
        rows: &[u32],
    ) -> Result<(), glassbox_kernels::KernelError> {
        use glassbox_kernels::Backend as _;
        let mut chosen = backend.zeros(rows.len() * width);
        backend.gather_rows(x, width, rows, &mut chosen)?;
        let mut values = vec![0.0; rows.len() * width];
        backend.read(&self.0.reconstruct(&chosen, rows.len())?, 0, &mut values)?;
        for row in values.chunks_exact_mut(width) {
            for (value, bias) in row.iter_mut().zip(self.0.decoder_bias()) {
                *value = bias - *value;
            }
        }
        backend.add_rows(x, width, rows, &backend.upload(&values), rows.len())
    }

    fn pull_back(
        &self,
        _backend: &glassbox_kernels::CpuBackend,
        _x_before: &<glassbox_kernels::CpuBackend as glassbox_kernels::Backend>::Buffer,
        _gradient: &mut <glassbox_kernels::CpuBackend as glassbox_kernels::Backend>::Buffer,
        _width: usize,
        _rows: &[u32],
    ) -> Result<(), glassbox_kernels::KernelError> {
        Ok(())
    }
}

#[test]
fn a_whole_screen_ranks_counts_its_passes_and_is_checked_against_exact_effects() {
    let bench = Bench::new();
    let families = [bench.scenario.family_a(), bench.scenario.family_b()];
    let selection = select(
        &bench.session,
        &bench.prompts.select,
        families,
        &bench.scenario.select,
        &Silent,
    )
    .unwrap();
    for (mode, steps) in [
        (ScreenMode::Values, 1),
        (ScreenMode::Zero, 1),
        (ScreenMode::Values, 2),
    ] {
        let settings = ScreenSettings {
            target: bench.decision(),
            mode,
            steps,
            checked: 8,
        };
        let prompts = &bench.prompts.select[8..16];
        let found = screen(
            &bench.session,
            &bench.scenario,
            prompts,
            &selection,
            &settings,
            &Silent,
        )
        .unwrap();
        let layers = bench.session.layers().len() as u64;
        let backward = if steps == 1 {
            8
        } else {
            8 * layers * u64::from(steps)
        };
        assert_eq!(found.passes.backward, backward);
        let rows: Vec<_> = found.rows().collect();
        assert!(!rows.is_empty() && rows.is_sorted_by(|one, other| one.effect.abs() >= other.effect.abs()));
        assert_eq!(
            rows.iter()
                .filter(|row| row.checked.as_deref() == Some("top"))
                .count(),
            8
        );
        assert!(
            found.screened() >= found.ranked()
                && found.effect(rows[0].layer, rows[0].feature) == Some(rows[0].effect)
        );
        let trust = found.trust;
        assert_eq!((trust.top, trust.random, trust.prompts), (8, 8, 8));
        assert!(
            trust.correlation.unwrap() > 0.8 && trust.top_same_sign.unwrap() > 0.7,
            "{mode:?} {steps}: {trust:?}"
        );
    }
}

#[test]
fn a_target_without_layers_before_it_is_refused() {
    let bench = Bench::new();
    let first = bench.session.layers()[0];
    let target = ScreenTarget::Feature {
        layer: first,
        feature: 0,
    };
    let means = |_: u32, features: usize| (vec![0.0; features], vec![1.0; features]);
    let positions = InterventionPositions::LastAndGenerated;
    let error = Screen::new(&bench.session, &target, ScreenMode::Values, positions, 1, means).unwrap_err();
    assert!(
        error.to_string().contains("no dictionary reads a block before"),
        "{error}"
    );
}

#[test]
fn a_run_that_selects_by_attribution_takes_the_screen_and_reads_the_decision() {
    let Bench { mut scenario, .. } = Bench::new();
    scenario.select.rank_by = SelectionRank::Attribution;
    scenario.select.top_per_layer = 1;
    scenario.sweep.max_prompts = 2;
    scenario.sweep.trials = 1;
    scenario.sweep.controls_per_feature = 1;
    scenario.sweep.max_new_tokens = 4;
    scenario.pathways.max_prompts = 1;
    scenario.pathways.trials = 1;
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let request = RunRequest {
        scenario,
        out: out.clone(),
        resume: false,
        pilot: None,
    };
    let outcome = run(&request, &Silent).unwrap();
    assert!(
        outcome
            .checks
            .iter()
            .any(|check| check.check == "decision_mass" && check.figure > Some(0.9))
    );

    let screened: Vec<ScreenRow> = glassbox_store::read_table(&out.join("screen.parquet")).unwrap();
    let selection: Vec<SelectionRow> = glassbox_store::read_table(&out.join("selection.parquet")).unwrap();
    let selected: Vec<&SelectionRow> = selection.iter().filter(|row| row.selected).collect();
    assert!(!selected.is_empty());
    for row in &selected {
        let differs = |screened: &&ScreenRow| {
            let same = |row: &&SelectionRow| (row.layer, row.feature) == (screened.layer, screened.feature);
            screened.layer == row.layer && selection.iter().find(same).unwrap().q < Some(0.05)
        };
        let first = screened.iter().find(differs).unwrap();
        assert_eq!(first.feature, row.feature, "layer {}", row.layer);
    }

    let rows: Vec<DecisionRow> = glassbox_store::read_table(&out.join("decision.parquet")).unwrap();
    let layers = selected.len();
    // Baseline, reconstruct-only of each layer, two values and two control ends of each feature.
    assert_eq!(rows.len(), 4 * (1 + layers + 2 * layers + 2 * layers));
    let effects: Vec<DecisionEffectRow> =
        glassbox_store::read_table(&out.join("decision_effects.parquet")).unwrap();
    assert_eq!(
        effects.iter().filter(|row| row.role == "selected").count(),
        layers * 3 * 3
    );
}
