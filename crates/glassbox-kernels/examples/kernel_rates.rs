//! Rates of the product with frozen weights, beside the `gemm` crate and the machine's own limits.
//!
//! `cargo run --release -p glassbox-kernels --example kernel_rates [f32|bf16|f16] [forward|backward] [columns]x[rows]`
//!
//! Each shape is measured over as many matrices as exceed the last cache, one after the other, as the layers of a
//! model come. Rates are of wall time; `busy` is the rate that the processor time spent would give on idle
//! cores, which says more when other programs run.

use std::collections::BTreeMap;
use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

use glassbox_kernels::backend::StoredValues;
use glassbox_kernels::matmul::{Layout, matmul};
use glassbox_kernels::{Backend, CpuBackend};
use half::{bf16, f16};

/// Rows of x: a sequence, a batch that decodes, a prefill.
const ROWS: [usize; 14] = [1, 2, 4, 8, 16, 32, 48, 64, 96, 128, 192, 256, 512, 3200];
/// [columns -> rows] of the matrix: attention, key, MLP in and out, head, recorded features.
const SHAPES: [(usize, usize); 6] = [
    (512, 512),
    (512, 256),
    (512, 1408),
    (1408, 512),
    (512, 32_000),
    (512, 232),
];
/// Weights that one measurement goes through: more than the last cache holds.
const WEIGHT_BYTES: usize = 96 << 20;
/// Time that one measurement takes at least.
const AT_LEAST: Duration = Duration::from_millis(60);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let element = arguments.first().map_or("f32", String::as_str);
    let backward = arguments.get(1).is_some_and(|direction| direction == "backward");
    if !matches!(element, "f32" | "bf16" | "f16") {
        return Err(format!("`{element}` is no element type; the choices are f32, bf16 and f16").into());
    }
    let only = arguments.get(2);
    let threads = rayon::current_num_threads();
    println!("{}, {threads} threads", CpuBackend.instruction_set());
    limits(threads)?;
    println!(
        "{:>6} {:>14} {:>10} {:>10} {:>8} {:>10}",
        "rows", "shape", "GFLOP/s", "busy", "GB/s", "gemm"
    );
    for (columns, rows) in SHAPES {
        if only.is_some_and(|only| *only != format!("{columns}x{rows}")) {
            continue;
        }
        let bytes = numbers(rows * columns)
            .iter()
            .flat_map(|&x| stored(element, x))
            .collect::<Vec<u8>>();
        let values = match element {
            "bf16" => StoredValues::Bf16(&bytes),
            "f16" => StoredValues::F16(&bytes),
            _ => StoredValues::F32(&bytes),
        };
        let copies = WEIGHT_BYTES.div_ceil(bytes.len());
        let matrices = (0..copies)
            .map(|_| CpuBackend.matrix(values, rows, columns))
            .collect::<Result<Vec<_>, _>>()?;
        let plain = numbers(rows * columns);
        let plain: Vec<Vec<f32>> = (0..WEIGHT_BYTES.div_ceil(4 * plain.len()))
            .map(|_| plain.clone())
            .collect();
        for n in ROWS {
            let (taken, given) = if backward {
                (rows, columns)
            } else {
                (columns, rows)
            };
            let x = CpuBackend.upload(&numbers(n * taken));
            let mut y = CpuBackend.zeros(n * given);
            let own = measure(matrices.len(), |i| {
                if backward {
                    CpuBackend.linear_backward(&x, n, &matrices[i], false, &mut y)
                } else {
                    CpuBackend.linear(&x, n, &matrices[i], None, &mut y)
                }
            })?;
            let (lhs, mut dst) = (numbers(n * taken), vec![0.0; n * given]);
            let layout = if backward {
                Layout::Normal
            } else {
                Layout::Transposed
            };
            let gemm = measure(plain.len(), |i| {
                matmul(
                    &mut dst,
                    n,
                    given,
                    &lhs,
                    Layout::Normal,
                    &plain[i],
                    layout,
                    taken,
                    0.0,
                    1.0,
                )
            })?;
            black_box((&y, &dst));
            let work = 2.0 * (n * rows * columns) as f64;
            println!(
                "{n:>6} {:>14} {:>10.1} {:>10.1} {:>8.1} {:>10.1}",
                format!("[{columns}->{rows}]"),
                work / own.wall / 1e9,
                own.busy
                    .map_or(f64::NAN, |busy| work / busy * threads as f64 / 1e9),
                bytes.len() as f64 / own.wall / 1e9,
                work / gemm.wall / 1e9,
            );
        }
    }
    Ok(())
}

/// What the machine gives at best: a large product, and reading memory.
fn limits(threads: usize) -> Result<(), Box<dyn Error>> {
    const SIDE: usize = 2048;
    let (lhs, rhs, mut dst) = (numbers(SIDE * SIDE), numbers(SIDE * SIDE), vec![0.0; SIDE * SIDE]);
    let product = measure(1, |_| {
        matmul(
            &mut dst,
            SIDE,
            SIDE,
            &lhs,
            Layout::Normal,
            &rhs,
            Layout::Normal,
            SIDE,
            0.0,
            1.0,
        )
    })?;
    let values = vec![1.0f32; 64 << 20];
    let read = measure(1, |_| {
        let total: f32 = std::thread::scope(|scope| {
            let parts: Vec<_> = values
                .chunks(values.len().div_ceil(threads))
                .map(|part| scope.spawn(|| sum(part)))
                .collect();
            parts.into_iter().filter_map(|part| part.join().ok()).sum()
        });
        black_box(total);
        Ok::<(), Box<dyn Error>>(())
    })?;
    println!(
        "limits: {:.1} GFLOP/s (gemm of {SIDE}³), {:.1} GB/s (reading 256 MiB)",
        2.0 * (SIDE as f64).powi(3) / product.wall / 1e9,
        (values.len() * 4) as f64 / read.wall / 1e9
    );
    Ok(())
}

fn sum(values: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 128];
    for block in values.as_chunks::<128>().0 {
        for (lane, x) in lanes.iter_mut().zip(block) {
            *lane += x;
        }
    }
    lanes.iter().sum()
}

fn numbers(count: usize) -> Vec<f32> {
    (0..count)
        .map(|i| ((i * 7919) % 1031) as f32 / 1031.0 - 0.5)
        .collect()
}

fn stored(element: &str, x: f32) -> Vec<u8> {
    match element {
        "bf16" => bf16::from_f32(x).to_le_bytes().to_vec(),
        "f16" => f16::from_f32(x).to_le_bytes().to_vec(),
        _ => x.to_le_bytes().to_vec(),
    }
}

/// Seconds per call.
struct Measured {
    wall: f64,
    /// Of all threads together; `None` where the system does not say.
    busy: Option<f64>,
}

/// Calls `each` with 0, 1, ... `count` − 1 over and over; the fastest of five parts counts for the wall time.
fn measure<E: Into<Box<dyn Error>>>(
    count: usize,
    mut each: impl FnMut(usize) -> Result<(), E>,
) -> Result<Measured, Box<dyn Error>> {
    each(0).map_err(Into::into)?;
    let (mut best, mut calls) = (f64::INFINITY, 0);
    let busy = processor_times();
    for _ in 0..5 {
        let (start, mut done) = (Instant::now(), 0);
        while done == 0 || start.elapsed() < AT_LEAST / 5 {
            each((calls + done) % count).map_err(Into::into)?;
            done += 1;
        }
        best = best.min(start.elapsed().as_secs_f64() / done as f64);
        calls += done;
    }
    let busy = busy.zip(processor_times()).map(|(before, after)| {
        let spent: u64 = after
            .iter()
            .map(|(thread, time)| time - before.get(thread).copied().unwrap_or(0))
            .sum();
        spent as f64 * 1e-9 / calls as f64
    });
    Ok(Measured { wall: best, busy })
}

/// Nanoseconds that each thread of this process has run, from Linux's scheduler.
fn processor_times() -> Option<BTreeMap<String, u64>> {
    std::fs::read_dir("/proc/self/task")
        .ok()?
        .map(|thread| {
            let thread = thread.ok()?;
            let times = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
            let ran = times.split_whitespace().next()?.parse().ok()?;
            Some((thread.file_name().to_string_lossy().into_owned(), ran))
        })
        .collect()
}
