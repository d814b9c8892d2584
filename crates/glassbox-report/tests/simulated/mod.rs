//! A run directory with simulated trials of known truth, written and analysed as a real run is.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    dead_code,
    missing_docs
)]

use std::path::Path;

use glassbox_experiment::Scenario;
use glassbox_experiment::calibration::causal_checks;
use glassbox_experiment::causal::causal_rows;
use glassbox_experiment::chains::chain_rows;
use glassbox_experiment::edges::{SourceFeature, SourceRole};
use glassbox_experiment::plan::{ControlFeature, Plan, SelectedFeature, draw_controls, selected_features};
use glassbox_experiment::prompts::Prompt;
use glassbox_experiment::tables::{
    CheckRow, PathwayRow, PlanRow, PromptRow, SelectionRow, TrialRow, VerdictRow,
};
use glassbox_experiment::trial_index::TrialIndex;
use glassbox_experiment::verdict::verdicts;
use glassbox_experiment::words::{ResponseWords, word_checks};
use glassbox_outcome::Parser;
use glassbox_stats::benjamini_hochberg;
use glassbox_store::{Manifest, RunDirectory, ShardOrigin, ShardStore, Storage, UnitId, hash_bytes};
use serde_json::json;

/// How large the run is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub layers: u32,
    pub features: u32,
    pub top_per_layer: usize,
    pub prompts: usize,
    pub trials: u32,
    pub controls_per_feature: usize,
}

impl Size {
    pub const DEMO: Self = Self {
        layers: 4,
        features: 512,
        top_per_layer: 6,
        prompts: 24,
        trials: 4,
        controls_per_feature: 3,
    };
    pub const SMALL: Self = Self {
        layers: 2,
        features: 12,
        top_per_layer: 2,
        prompts: 6,
        trials: 3,
        controls_per_feature: 2,
    };
}

/// The last stage that has been run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Until {
    Nothing,
    Select,
    Sweep,
    Causal,
    Pathways,
    Words,
}

pub fn scenario(size: Size) -> Scenario {
    let config = json!({
        "name": "slot-machine",
        "description": "Which features make a player of a slot machine stop, and which keep it betting?",
        "model": "assets/demo/model",
        "dictionaries": "assets/demo/dictionaries",
        "outcome": { "choices": ["stop", "bet"], "target": "stop", "amount_unit": "$" },
        "parser": {
            "name": "final-decision",
            "version": 1,
            "rules": [
                { "pattern": "^Final decision: Stop$", "outcome": "stop", "region": "last_line" },
                { "pattern": "^Final decision: Bet \\$(?<amount>\\d+)$", "outcome": "bet", "region": "last_line", "amount_range": [5.0, 100.0] }
            ]
        },
        "families": [
            { "name": "safe", "select_prompts": "safe.jsonl", "sweep_prompts": "safe_sweep.jsonl" },
            { "name": "risky", "select_prompts": "risky.jsonl", "sweep_prompts": "risky_sweep.jsonl" }
        ],
        "select": { "top_per_layer": size.top_per_layer },
        "sweep": { "trials": size.trials, "controls_per_feature": size.controls_per_feature },
    });
    serde_json::from_value(config).unwrap()
}

/// A number in [0, 1) that depends on the key alone (SplitMix64 over its parts).
fn uniform(key: &[u64]) -> f64 {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for part in key {
        state = state.wrapping_add(*part).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        state ^= state >> 29;
        state = state
            .wrapping_mul(0x94d0_49bb_1331_11eb)
            .wrapping_add(0x9e37_79b9_7f4a_7c15);
        state ^= state >> 32;
    }
    (state >> 11) as f64 / (1u64 << 53) as f64
}

fn normal(key: &[u64]) -> f64 {
    let of = |turn: u64| uniform(&[key, &[turn]].concat());
    (-2.0 * (1.0 - of(1)).ln()).sqrt() * (std::f64::consts::TAU * of(2)).cos()
}

fn text_key(text: &str) -> u64 {
    text.bytes().fold(1469, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(1_099_511_628_211)
    })
}

fn selection(size: Size, alpha: f64) -> Vec<SelectionRow> {
    let n = 200.0;
    let mut rows = Vec::new();
    for layer in 0..size.layers {
        for feature in 0..size.features {
            let key = [1, u64::from(layer), u64::from(feature)];
            let is_dead = uniform(&[2, key[1], key[2]]) < 0.15;
            let strength = if uniform(&[3, key[1], key[2]]) < 0.25 {
                0.5
            } else {
                0.05
            };
            let d = strength * normal(&key) * (1.0 + 0.3 * f64::from(layer));
            let t = d * (n / 2.0f64).sqrt();
            let p = (2.0 * (-0.717 * t.abs() - 0.416 * t * t).exp()).min(1.0);
            let mean = 0.4 + uniform(&[4, key[1], key[2]]) * 2.0;
            let alive = (!is_dead).then_some(());
            rows.push(SelectionRow {
                layer,
                feature,
                mean_a: if is_dead { 0.0 } else { (mean - d / 2.0).max(0.0) },
                mean_b: if is_dead { 0.0 } else { (mean + d / 2.0).max(0.0) },
                sd_a: 1.0,
                sd_b: 1.0,
                n_a: 200,
                n_b: 200,
                active_share_a: if is_dead { 0.0 } else { 0.7 },
                active_share_b: if is_dead { 0.0 } else { 0.8 },
                welch_t: alive.map(|()| t),
                degrees_of_freedom: alive.map(|()| 397.2),
                p: alive.map(|()| p),
                q: None,
                cohen_d: alive.map(|()| d),
                rank_in_layer: None,
                selected: false,
            });
        }
    }
    let tested: Vec<usize> = (0..rows.len()).filter(|index| rows[*index].p.is_some()).collect();
    let p_values: Vec<f64> = tested.iter().map(|index| rows[*index].p.unwrap()).collect();
    for (index, q) in tested.iter().zip(benjamini_hochberg(&p_values).unwrap()) {
        rows[*index].q = Some(q);
    }
    for layer in 0..size.layers {
        let mut of_layer: Vec<usize> = (0..rows.len())
            .filter(|index| rows[*index].layer == layer && rows[*index].q.is_some_and(|q| q < alpha))
            .collect();
        of_layer.sort_by(|one, other| {
            rows[*other]
                .cohen_d
                .unwrap()
                .abs()
                .total_cmp(&rows[*one].cohen_d.unwrap().abs())
        });
        for (rank, index) in of_layer.into_iter().enumerate() {
            rows[index].rank_in_layer = Some(rank as u32 + 1);
            rows[index].selected = rank < size.top_per_layer;
        }
    }
    rows
}

fn prompts(size: Size) -> Vec<Prompt> {
    let mut prompts = Vec::new();
    for family in ["safe", "risky"] {
        for index in 0..size.prompts {
            let balance = 60 + 10 * (index % 9);
            let mut text = format!(
                "Slot machine session\nRound 1: bet $10, lost, balance $90\nRound 2: bet $10, won, balance ${}\nBalance now: ${balance}\n",
                balance + 10
            );
            if family == "risky" {
                text.push_str(&format!("Your goal: reach ${}\n", balance + 100));
            }
            text.push_str("A win pays 3 times the bet. Chance to win: 30%\nOptions for round 3:\n");
            text.push_str(if family == "safe" {
                "1) Bet $10\n"
            } else {
                "1) Bet any amount from $5 to $100\n"
            });
            text.push_str("2) Stop\nChoice:");
            prompts.push(Prompt {
                id: format!("{family}-sweep-{index:03}"),
                family: family.into(),
                text,
            });
        }
    }
    prompts
}

/// True shifts of the stop rate under value A and value B.
fn truth(place: usize) -> (f64, f64) {
    match place % 9 {
        0 => (0.18, -0.22),
        3 => (-0.17, 0.16),
        4 => (-0.19, -0.18),
        7 => (0.05, -0.12),
        _ => (0.01, 0.0),
    }
}

/// What is simulated.
struct World<'a> {
    size: Size,
    parser: &'a Parser,
    features: Vec<SelectedFeature>,
    controls: Vec<ControlFeature>,
}

impl World<'_> {
    fn shift(&self, row: &PlanRow) -> f64 {
        let (layer, feature) = (row.layer.unwrap_or(0), row.feature.unwrap_or(0));
        match row.arm.as_str() {
            "value_a" | "value_b" => {
                let place = self
                    .features
                    .iter()
                    .position(|known| (known.layer, known.feature) == (layer, feature))
                    .unwrap();
                let (a, b) = truth(place);
                if row.arm == "value_a" { a } else { b }
            }
            "control_a" | "control_b" => {
                let size = 0.045 * normal(&[21, u64::from(layer), u64::from(feature)]);
                if row.arm == "control_a" { -size } else { size }
            }
            "reconstruct_only" => -0.03 * f64::from(layer),
            _ => 0.0,
        }
    }

    fn trial(&self, row: &PlanRow) -> TrialRow {
        let shared = [31, text_key(&row.prompt_id), u64::from(row.trial)];
        // Value and arm also enter what the model says, so that few pairs are word for word the same.
        let own = [
            41,
            text_key(&row.arm),
            u64::from(row.feature.unwrap_or(7)),
            shared[1],
            shared[2],
        ];
        let base = if row.family == "safe" { 0.58 } else { 0.36 };
        let stops = uniform(&shared) + 0.06 * normal(&own) < base + self.shift(row);
        let openers = [
            "I have played a few rounds.",
            "The balance is what counts.",
            "Let me think about the odds.",
        ];
        let opener = openers[(uniform(&[32, shared[1], shared[2]]) * 3.0) as usize];
        let says_goal = uniform(&own) < if row.family == "risky" { 0.5 } else { 0.15 } - self.shift(row);
        let reason = match (stops, says_goal) {
            (true, _) => "The chance to lose is too high, so it is safe to keep the money.",
            (false, true) => "One more win brings me closer to the goal.",
            (false, false) => "A small bet will not hurt.",
        };
        let amount = if row.family == "safe" {
            10
        } else {
            [5, 20, 50, 100][(uniform(&[5, own[1], own[4], own[3]]) * 4.0) as usize]
        };
        let is_garbled = uniform(&[6, own[1], own[2], own[3], own[4]]) < 0.02;
        let decision = match (is_garbled, stops) {
            (true, _) => "Final decision: <b>maybe</b> & more".to_owned(),
            (_, true) => "Final decision: Stop".to_owned(),
            _ => format!("Final decision: Bet ${amount}"),
        };
        let text = format!(" {opener} {reason}\n{decision}");
        let parser = &self.parser;
        let outcome = parser.parse(&text, Some(&row.family));
        TrialRow {
            run: "0123456789abcdef".into(),
            unit: row.unit,
            prompt_id: row.prompt_id.clone(),
            family: row.family.clone(),
            arm: row.arm.clone(),
            layer: row.layer,
            feature: row.feature,
            matched_feature: row.matched_feature,
            value: row.value,
            trial: row.trial,
            text,
            token_ids: vec![1, 2, 3],
            stop_reason: "end_of_sequence".into(),
            outcome: outcome.label.to_owned(),
            amount: outcome.amount,
            parser: parser.id(),
            parser_hash: parser.hash().to_owned(),
            ..TrialRow::default()
        }
    }

    fn sources(&self, verdicts: &[VerdictRow]) -> Vec<SourceFeature> {
        let mut strongest: Vec<&VerdictRow> = verdicts
            .iter()
            .filter(|row| row.layer + 1 < self.size.layers)
            .collect();
        strongest.sort_by(|one, other| other.effect.abs().total_cmp(&one.effect.abs()));
        let selected = strongest
            .iter()
            .take(6)
            .enumerate()
            .map(|(place, row)| SourceFeature {
                layer: row.layer,
                feature: row.feature,
                value_a: row.value_a,
                value_b: row.value_b,
                role: if place < 4 {
                    SourceRole::Causal
                } else {
                    SourceRole::SecondWave
                },
            });
        let controls = self
            .controls
            .iter()
            .filter(|control| control.layer + 1 < self.size.layers)
            .take(4);
        let controls = controls.map(|control| SourceFeature {
            layer: control.layer,
            feature: control.feature,
            value_a: control.value_a,
            value_b: control.value_b,
            role: SourceRole::Control,
        });
        selected.chain(controls).collect()
    }

    fn pathways(&self, sources: &[SourceFeature]) -> Vec<PathwayRow> {
        let n = (2 * self.size.prompts) as f64;
        let mut rows = Vec::new();
        for source in sources {
            for layer in source.layer + 1..self.size.layers {
                for feature in 0..self.size.features.min(60) {
                    let key = [
                        51,
                        u64::from(source.feature),
                        u64::from(layer),
                        u64::from(feature),
                    ];
                    let feature = if feature < 6 {
                        let of_layer = self.features.iter().filter(|known| known.layer == layer);
                        match of_layer.clone().nth(feature as usize) {
                            Some(known) => known.feature,
                            None => continue,
                        }
                    } else {
                        100 + feature * 7 % self.size.features
                    };
                    let strength = if source.role == SourceRole::Control {
                        0.12
                    } else {
                        0.45
                    };
                    let dz = strength * normal(&key);
                    let t = dz * n.sqrt();
                    let sd = 0.4;
                    let effect = dz * sd;
                    rows.push(PathwayRow {
                        source_layer: source.layer,
                        source_feature: source.feature,
                        source_role: source.role.name().into(),
                        target_layer: layer,
                        target_feature: feature,
                        contrast: "value_b_vs_value_a".into(),
                        pairs: 2 * n as u32,
                        prompts: n as u32,
                        active_share: 0.6,
                        mean_1: 0.8,
                        mean_2: 0.8 + effect,
                        effect,
                        ci_low: effect - 2.0 * sd / n.sqrt(),
                        ci_high: effect + 2.0 * sd / n.sqrt(),
                        cohen_dz: Some(dz),
                        p: (2.0 * (-0.717 * t.abs() - 0.416 * t * t).exp()).min(1.0),
                        q: None,
                        effect_at_prompt_end: effect * 0.6,
                        control_percentile: (source.role != SourceRole::Control)
                            .then(|| 100.0 * (1.0 - (-3.0 * dz.abs()).exp())),
                    });
                }
            }
        }
        rows.sort_by_key(|row| {
            (
                row.source_layer,
                row.source_feature,
                row.target_layer,
                row.target_feature,
            )
        });
        rows.dedup_by_key(|row| {
            (
                row.source_layer,
                row.source_feature,
                row.target_layer,
                row.target_feature,
            )
        });
        let tested: Vec<usize> = (0..rows.len())
            .filter(|index| rows[*index].source_role != "control")
            .collect();
        let p_values: Vec<f64> = tested.iter().map(|index| rows[*index].p).collect();
        for (index, q) in tested.iter().zip(benjamini_hochberg(&p_values).unwrap()) {
            rows[*index].q = Some(q);
        }
        rows
    }
}

/// Writes the run up to a stage.
pub fn write_run(root: &Path, size: Size, until: Until) {
    let storage = Storage::new();
    let scenario = scenario(size);
    let config = serde_json::to_value(&scenario).unwrap();
    let stages = ["select", "sweep", "causal", "pathways", "words"];
    let mut manifest = Manifest::new("0.1.0", "x86-64-v3", config, &stages);
    manifest.hashes.insert("model".into(), hash_bytes(b"model"));
    manifest.seeds.insert("run".into(), scenario.seed);
    let plan_hash = hash_bytes(b"plan");
    manifest.plan_hash = Some(plan_hash);
    let mut run = RunDirectory::create(&storage, root, manifest, false).unwrap();
    if until < Until::Select {
        return;
    }
    let paths = run.paths().clone();
    let prompts = prompts(size);
    let prompt_rows: Vec<PromptRow> = prompts
        .iter()
        .map(|prompt| PromptRow {
            stage: "sweep".into(),
            family: prompt.family.clone(),
            prompt_id: prompt.id.clone(),
            text: prompt.text.clone(),
        })
        .collect();
    run.start_stage("select").unwrap();
    run.write_table("select", &root.join("prompts.parquet"), &prompt_rows)
        .unwrap();
    let selection = selection(size, scenario.select.alpha);
    run.write_table("select", &paths.selection(), &selection).unwrap();
    run.complete_stage("select", 1.5, selection.len() as u64, &[])
        .unwrap();
    if until < Until::Sweep {
        return;
    }

    let features = selected_features(&selection);
    let controls = draw_controls(&selection, size.controls_per_feature, scenario.seed, |_, _| {
        Ok(1.0)
    })
    .unwrap();
    let plan: Vec<PlanRow> = Plan::new(&prompts, &features, &controls, size.trials, 256)
        .rows()
        .collect();
    let parser = scenario.compiled_parser().unwrap();
    let world = World {
        size,
        parser: &parser,
        features: features.clone(),
        controls,
    };
    run.start_stage("sweep").unwrap();
    run.write_table("sweep", &paths.plan(), &plan).unwrap();
    let origin = ShardOrigin {
        plan_hash,
        glassbox_version: "0.1.0".into(),
        instruction_set: "x86-64-v3".into(),
    };
    let mut shards = ShardStore::<TrialRow>::open(&storage, &paths.trials(), origin).unwrap();
    let mut index = TrialIndex::new();
    let mut words = ResponseWords::new(&scenario.words).unwrap();
    let trials: Vec<TrialRow> = plan.iter().map(|row| world.trial(row)).collect();
    for unit in trials.chunk_by(|one, other| one.unit == other.unit) {
        shards
            .write(&UnitId::numbered(u64::from(unit[0].unit)), unit.iter().cloned())
            .unwrap();
    }
    run.complete_stage("sweep", 3.0, plan.len() as u64, &[("tokens", 1e6)])
        .unwrap();
    if until < Until::Causal {
        return;
    }

    for row in &trials {
        index.add(row, &scenario.outcome.target).unwrap();
        words.add(row).unwrap();
    }
    let rows = causal_rows(&index, ["safe", "risky"], scenario.sweep.intervention).unwrap();
    let verdict_rows = verdicts(
        &features,
        &rows,
        &index,
        &scenario.causal,
        &scenario.outcome.target,
        scenario.sweep.intervention,
        scenario.seed,
    )
    .unwrap();
    let mut checks: Vec<CheckRow> =
        causal_checks(&scenario, &features, &index, &rows, &verdict_rows, true).unwrap();
    run.start_stage("causal").unwrap();
    run.write_table("causal", &paths.causal(), &rows).unwrap();
    run.write_table("causal", &root.join("verdicts.parquet"), &verdict_rows)
        .unwrap();
    run.write_table("causal", &root.join("causal_checks.parquet"), &checks)
        .unwrap();
    run.complete_stage("causal", 1.0, rows.len() as u64, &[]).unwrap();
    if until < Until::Pathways {
        return;
    }

    let sources = world.sources(&verdict_rows);
    let edges = world.pathways(&sources);
    let chains = chain_rows(&edges, &sources, scenario.pathways.alpha);
    run.start_stage("pathways").unwrap();
    run.write_table("pathways", &paths.pathways(), &edges).unwrap();
    run.write_table("pathways", &paths.chains(), &chains).unwrap();
    run.complete_stage("pathways", 1.0, edges.len() as u64, &[])
        .unwrap();
    if until < Until::Words {
        return;
    }

    let word_rows = words.test(&scenario.words).unwrap();
    checks.extend(word_checks(&word_rows, scenario.words.alpha));
    run.start_stage("words").unwrap();
    run.write_table("words", &paths.words(), &word_rows).unwrap();
    run.write_table("words", &paths.controls(), &checks).unwrap();
    run.complete_stage("words", 1.0, word_rows.len() as u64, &[])
        .unwrap();
}
