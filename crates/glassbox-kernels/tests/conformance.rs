//! The suite that every backend must pass, on the backends of this crate.

use glassbox_kernels::{CpuBackend, ReferenceBackend, conformance};

macro_rules! suite {
    ($name:ident, $backend:expr) => {
        mod $name {
            use super::*;

            #[test]
            fn memory() {
                conformance::check_memory(&$backend);
            }

            #[test]
            fn pointwise() {
                conformance::check_pointwise(&$backend);
            }

            #[test]
            fn products() {
                conformance::check_products(&$backend);
            }

            #[test]
            fn norms() {
                conformance::check_norms(&$backend);
            }

            #[test]
            fn attention() {
                conformance::check_attention(&$backend);
            }

            #[test]
            fn edits() {
                conformance::check_edits(&$backend);
            }

            #[test]
            fn selection() {
                conformance::check_selection(&$backend);
            }

            #[test]
            fn training() {
                conformance::check_training(&$backend);
            }

            #[test]
            fn refusals() {
                conformance::check_refusals(&$backend);
            }
        }
    };
}

suite!(cpu, CpuBackend);
suite!(reference, ReferenceBackend);

#[test]
fn gradients_of_the_definitions_match_finite_differences() {
    conformance::check_gradients_of_definitions();
}

fn large_results() -> Vec<(&'static str, Vec<f32>)> {
    let mut results = conformance::large_results(&CpuBackend);
    results.extend(conformance::large_training_results(&CpuBackend));
    results
}

#[test]
fn large_results_agree_with_the_reference() {
    let expected = conformance::large_results(&ReferenceBackend)
        .into_iter()
        .chain(conformance::large_training_results(&ReferenceBackend));
    for ((name, found), (_, expected)) in large_results().into_iter().zip(expected) {
        let largest = expected.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
        for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let close =
                (found - expected).abs() <= 1e-5 * largest.max(1.0) || found.is_nan() && expected.is_nan();
            assert!(
                close,
                "{name}: element {i} is {found}, expected {expected}; the largest is {largest}"
            );
        }
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let on_threads = |threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(large_results)
    };
    let expected = on_threads(1);
    // Outside of a pool the process's own helpers are used, by two callers at once here.
    let outside = std::thread::scope(|scope| {
        [0, 1]
            .map(|_| scope.spawn(large_results))
            .map(|caller| caller.join().unwrap())
    });
    let found = [2, 3].map(|threads| (format!("{threads} threads"), on_threads(threads)));
    let outside = outside.map(|results| ("helpers".to_owned(), results));
    for (threads, found) in found.into_iter().chain(outside) {
        for ((name, found), (_, expected)) in found.iter().zip(&expected) {
            let same = found
                .iter()
                .map(|x| x.to_bits())
                .eq(expected.iter().map(|x| x.to_bits()));
            assert!(same, "{name} differs between 1 thread and {threads}");
        }
    }
}
