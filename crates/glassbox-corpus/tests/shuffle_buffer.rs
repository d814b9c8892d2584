//! The promises of the shuffle buffer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use glassbox_corpus::{
    ActivationSource, CorpusError, MemoryActivations, ShuffleBuffer, ShuffleSettings, Split,
};
use glassbox_model::site::Site;
use proptest::prelude::*;

/// Two sites of widths 3 and 2, whose row i is made of i.
fn source(rows: usize, batch: usize) -> MemoryActivations {
    let row = |width: usize| {
        (0..rows * width)
            .map(|i| (i / width * 10 + i % width) as f32)
            .collect()
    };
    MemoryActivations::new(vec![
        (Site::ResidPost(0), 3, row(3)),
        (Site::MlpOut(1), 2, row(2)),
    ])
    .unwrap()
    .with_batch(batch)
}

fn settings(capacity: usize, passes: u32) -> ShuffleSettings {
    ShuffleSettings {
        capacity,
        seed: 7,
        split: Split::Train,
        passes: Some(passes),
    }
}

/// The next batch as row numbers, after a check that the sites belong together.
fn rows<S: ActivationSource>(buffer: &mut ShuffleBuffer<S>, batch: usize) -> Vec<usize> {
    let mut into = vec![Vec::new(), Vec::new()];
    let count = buffer.next_batch(batch, &mut into).unwrap();
    assert_eq!((into[0].len(), into[1].len()), (3 * count, 2 * count));
    let wide = into[0].chunks(3);
    wide.zip(into[1].chunks(2))
        .map(|(wide, narrow)| {
            assert_eq!(wide, [wide[0], wide[0] + 1.0, wide[0] + 2.0]);
            assert_eq!(narrow, [wide[0], wide[0] + 1.0]);
            wide[0] as usize / 10
        })
        .collect()
}

fn all<S: ActivationSource>(buffer: &mut ShuffleBuffer<S>, batch: usize) -> Vec<Vec<usize>> {
    std::iter::from_fn(|| Some(rows(buffer, batch)).filter(|rows| !rows.is_empty())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_row_is_given_once_in_every_pass(
        count in 1_usize..200, source_batch in 1_usize..50, capacity in 1_usize..120, part in 0.01..1.0_f64, passes in 1_u32..4,
    ) {
        let batch = ((capacity as f64 * part) as usize).max(1);
        let mut buffer = ShuffleBuffer::new(source(count, source_batch), settings(capacity, passes)).unwrap();
        let given = all(&mut buffer, batch);
        for full in &given[..given.len() - 1] {
            prop_assert_eq!(full.len(), batch);
        }
        let mut times = vec![0; count];
        given.iter().flatten().for_each(|&row| times[row] += 1);
        prop_assert!(times.iter().all(|&times| times == passes), "{:?}", times);
        prop_assert_eq!(buffer.rows_given(), count as u64 * u64::from(passes));
    }

    #[test]
    fn a_restored_buffer_gives_the_same_batches(
        count in 1_usize..200, source_batch in 1_usize..50, capacity in 8_usize..120, before in 0_usize..30,
    ) {
        let make = || ShuffleBuffer::new(source(count, source_batch), settings(capacity, 3)).unwrap();
        let mut whole = make();
        for _ in 0..before {
            rows(&mut whole, 8);
        }
        let mut saved = Vec::new();
        whole.save(&mut saved).unwrap();
        let mut resumed = make();
        resumed.restore(&mut saved.as_slice()).unwrap();
        let mut again = Vec::new();
        resumed.save(&mut again).unwrap();
        prop_assert_eq!(resumed.rows_given(), whole.rows_given());
        let rest = all(&mut whole, 8);
        prop_assert_eq!(&all(&mut resumed, 8), &rest);
        let mut once_more = make();
        once_more.restore(&mut again.as_slice()).unwrap();
        prop_assert_eq!(&all(&mut once_more, 8), &rest);
    }
}

#[test]
fn batches_do_not_depend_on_the_number_of_threads() {
    let with_threads = |threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            all(
                &mut ShuffleBuffer::new(source(5000, 333), settings(1000, 1)).unwrap(),
                256,
            )
        })
    };
    assert_eq!(with_threads(1), with_threads(2));
}

#[test]
fn rows_are_mixed_over_the_whole_buffer() {
    let mut buffer = ShuffleBuffer::new(source(10_000, 100), settings(2000, 1)).unwrap();
    let first = rows(&mut buffer, 500);
    // The first batch is a draw from the first 2000 rows: its mean is near 1000, and neighbours are rarely neighbours.
    let mean = first.iter().sum::<usize>() as f64 / 500.0;
    assert!((mean - 999.5).abs() < 4.0 * 577.0 / 500_f64.sqrt(), "{mean}");
    let neighbours = first.windows(2).filter(|pair| pair[1] == pair[0] + 1).count();
    assert!(neighbours < 5, "{neighbours}");
    let other = ShuffleSettings {
        seed: 8,
        ..settings(2000, 1)
    };
    assert_ne!(
        rows(&mut ShuffleBuffer::new(source(10_000, 100), other).unwrap(), 500),
        first
    );
}

#[test]
fn held_out_rows_never_reach_the_training() {
    let given = |split| {
        let settings = ShuffleSettings {
            split,
            ..settings(64, 1)
        };
        let mut buffer = ShuffleBuffer::new(source(200, 30).held_out_from(150), settings).unwrap();
        let mut given = all(&mut buffer, 16).concat();
        given.sort_unstable();
        given
    };
    assert_eq!(given(Split::Train), (0..150).collect::<Vec<_>>());
    assert_eq!(given(Split::HeldOut), (150..200).collect::<Vec<_>>());
    let settings = ShuffleSettings {
        split: Split::HeldOut,
        passes: None,
        ..settings(64, 1)
    };
    let mut empty = ShuffleBuffer::new(source(200, 30), settings).unwrap();
    let error = empty.next_batch(16, &mut [vec![], vec![]]).unwrap_err();
    assert!(
        matches!(error, CorpusError::NoTokens { split: "held-out" }),
        "{error}"
    );
}

#[test]
fn damaged_and_foreign_states_are_refused() {
    let mut buffer = ShuffleBuffer::new(source(200, 30), settings(64, 1)).unwrap();
    rows(&mut buffer, 16);
    let mut saved = Vec::new();
    buffer.save(&mut saved).unwrap();
    let restore = |bytes: &[u8], settings| {
        let mut buffer = ShuffleBuffer::new(source(200, 30), settings).unwrap();
        buffer.restore(&mut &bytes[..]).unwrap_err().to_string()
    };
    for cut in [0, 10, saved.len() / 2, saved.len() - 1] {
        let error = restore(&saved[..cut], settings(64, 1));
        assert!(error.contains("ends too early"), "{cut}: {error}");
    }
    let mut changed = saved.clone();
    let last = changed.len() - 40;
    changed[last] ^= 1;
    assert!(restore(&changed, settings(64, 1)).contains("checksum"));
    let error = restore(&saved, settings(65, 1));
    assert!(
        error.contains("capacity: 64") && error.contains("capacity: 65"),
        "{error}"
    );
    let error = buffer
        .next_batch(65, &mut [vec![], vec![]])
        .unwrap_err()
        .to_string();
    assert!(error.contains("64 rows cannot give batches of 65"), "{error}");
}

#[test]
fn values_that_are_not_finite_are_refused_with_their_row() {
    let error =
        MemoryActivations::new(vec![(Site::ResidPost(2), 2, vec![0.0, 1.0, 2.0, f32::NAN])]).unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("blocks.2.hook_resid_post") && message.contains("row 1 holds NaN in column 1"),
        "{message}"
    );
    assert!(MemoryActivations::new(vec![(Site::Embed, 2, vec![0.0; 3])]).is_err());
}
