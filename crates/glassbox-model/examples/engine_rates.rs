//! Rates of the engine on a model folder: prefill, decoding, gradients, loading.
//!
//! `cargo run --release -p glassbox-model --example engine_rates FOLDER [stored|f32|bf16] [WORK]`
//!
//! WORK picks the lines that begin with it. Rates are of the median wall time; `busy` is the processor time of all
//! threads, which says more when other programs run (Linux; its resolution is 10 ms).

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use glassbox_kernels::{Backend, CpuBackend};
use glassbox_model::batch::TokenBatch;
use glassbox_model::forward::{ForwardRequest, LogitPositions};
use glassbox_model::generate::{GenerationRequest, Prompts};
use glassbox_model::gradient::Seeds;
use glassbox_model::load_options::{LoadOptions, WeightType};
use glassbox_model::model::Model;
use glassbox_model::site::Site;

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let folder = arguments.first().ok_or("give the folder of a model")?;
    let name = arguments.get(1).map_or("stored", String::as_str);
    let weights = WeightType::ALL
        .into_iter()
        .find(|weights| weights.name() == name)
        .ok_or_else(|| format!("`{name}` is no weight type; the choices are stored, f32 and bf16"))?;
    let only = arguments.get(2).map_or("", String::as_str);

    let start = Instant::now();
    let model = Model::open_with(CpuBackend, Path::new(folder), &LoadOptions { weights })?;
    println!(
        "{}, {} threads, weights {name}, loaded in {:.2} s, memory {}",
        CpuBackend.instruction_set(),
        rayon::current_num_threads(),
        start.elapsed().as_secs_f64(),
        memory().unwrap_or_default()
    );
    let bench = Bench { model, only };
    for rows in [16, 1] {
        bench.prefill(rows, 200)?;
    }
    for (rows, tokens) in [(1, 64), (8, 32), (32, 32), (128, 16), (256, 16)] {
        bench.decode(rows, tokens)?;
    }
    for length in [100, 200] {
        bench.gradient(length)?;
    }
    println!("memory {}", memory().unwrap_or_default());
    Ok(())
}

struct Bench<'a> {
    model: Model<CpuBackend>,
    only: &'a str,
}

impl Bench<'_> {
    fn tokens(&self, row: usize, length: usize) -> Vec<u32> {
        let vocabulary = self.model.config().vocab_size;
        (0..length)
            .map(|i| ((i * 7919 + row * 104_729 + 5) % vocabulary) as u32)
            .collect()
    }

    fn prefill(&self, rows: usize, length: usize) -> Outcome {
        let rows: Vec<Vec<u32>> = (0..rows).map(|row| self.tokens(row, length)).collect();
        let batch = TokenBatch::from_rows(&rows)?;
        let mut workspace = self.model.workspace();
        let count = rows.len() * length;
        self.measure(
            &format!("prefill {}x{length}, all logits", rows.len()),
            count,
            || {
                let request = ForwardRequest::new(&batch).logits(LogitPositions::All);
                self.model.forward_on_device(&mut workspace, request)?;
                Ok(())
            },
        )
    }

    fn decode(&self, rows: usize, tokens: usize) -> Outcome {
        let prompts = [self.tokens(0, 100)];
        let mut workspace = self.model.workspace();
        let prefix = self.model.prefill_shared(&mut workspace, &prompts)?;
        let of_rows = vec![0; rows];
        self.measure(
            &format!("decode {rows}, {tokens} tokens after 100"),
            rows * tokens,
            || {
                let prompts = Prompts::Shared {
                    prefix: &prefix,
                    rows: &of_rows,
                };
                let request = GenerationRequest::new(prompts, tokens)
                    .eos_token_ids(&[])
                    .live_rows(rows);
                self.model.generate(&mut workspace, request)?;
                Ok(())
            },
        )
    }

    /// A feature at the last block, with respect to the residual stream of every block.
    fn gradient(&self, length: usize) -> Outcome {
        let config = self.model.config();
        let last = config.n_layers as u32 - 1;
        let batch = TokenBatch::from_row(&self.tokens(0, length))?;
        let wanted: Vec<Site> = (0..config.n_layers as u32).map(Site::ResidPre).collect();
        let direction = vec![0.1; config.d_model];
        let mut workspace = self.model.workspace();
        self.measure(&format!("gradient T={length}, last block to all"), 1, || {
            let request = ForwardRequest::new(&batch).stop_after_layer(last);
            let (_, mut tape) = self.model.forward_with_tape(&mut workspace, request)?;
            let seeds = Seeds::new().position(Site::ResidPost(last), 0, length as u32 - 1, &direction);
            tape.backward(&seeds, &wanted)?;
            Ok(())
        })
    }

    /// The median of five calls, after one.
    fn measure(&self, name: &str, count: usize, mut work: impl FnMut() -> Outcome) -> Outcome {
        if !name.starts_with(self.only) {
            return Ok(());
        }
        work()?;
        let mut times = Vec::new();
        let busy = processor_seconds();
        for _ in 0..5 {
            let start = Instant::now();
            work()?;
            times.push(start.elapsed().as_secs_f64());
        }
        let busy = busy
            .zip(processor_seconds())
            .map_or(f64::NAN, |(before, after)| (after - before) / 5.0);
        times.sort_by(f64::total_cmp);
        let median = times[times.len() / 2];
        println!(
            "{name:36} {:9.1} ms   busy {:9.1} ms   {:9.1} per s",
            median * 1e3,
            busy * 1e3,
            count as f64 / median
        );
        Ok(())
    }
}

/// Seconds of processor time of this process, from Linux, which counts them in hundredths.
fn processor_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name in parentheses may hold spaces; user and system time are the 12th and 13th field behind it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(ticks as f64 / 100.0)
}

/// Resident memory: of its own, and mapped from files.
fn memory() -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let lines = status
        .lines()
        .filter(|line| line.starts_with("RssAnon") || line.starts_with("RssFile"));
    Some(
        lines
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect::<Vec<_>>()
            .join(", "),
    )
}
