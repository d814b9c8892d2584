//! Operands that must be refused, with an error that names them and never a panic.

use super::compare::{matrix, numbers};
use crate::backend::{
    ActivationKind, AttentionShape, Backend, FeatureDelta, FeatureRows, NormKind, Result, SharedKeys,
    StoredValues,
};
use crate::error::KernelError;
use crate::matmul::Layout;

/// A call that takes its buffers by their lengths, in the order of the operation's signature.
type Call = Box<dyn Fn(&[usize]) -> Result<()>>;

/// Every buffer of every operation, one element too short; indices out of range; parameters without sense.
pub fn check_refusals<B: Backend>(backend: &B) {
    for (op, needed, call) in calls(backend) {
        assert_eq!(call(&needed), Ok(()), "{op} with buffers that just suffice");
        for short in 0..needed.len() {
            let mut lengths = needed.clone();
            lengths[short] -= 1;
            match call(&lengths) {
                Err(KernelError::Shape {
                    op: named,
                    found,
                    needed,
                    ..
                }) => {
                    assert_eq!(named, op, "the error must name the operation");
                    assert!(
                        found < needed,
                        "{op}, operand {short} short: found {found}, needed {needed}"
                    );
                }
                Err(KernelError::Index { op: named, .. }) => {
                    assert_eq!(named, op, "the error must name the operation");
                    assert!(
                        INDEXED.contains(&op),
                        "{op}, operand {short} short: an index error where a shape error should be"
                    );
                }
                other => panic!("{op} with operand {short} one element short: {other:?}"),
            }
        }
    }
    indices(backend);
    parameters(backend);
}

/// Operations that address rows of an operand by index: a short operand shows as an index out of range.
const INDEXED: [&str; 9] = [
    "gather_rows",
    "scatter_rows",
    "cache_select",
    "set_rows",
    "add_rows",
    "scale_rows",
    "rotary",
    "feature_delta",
    "feature_delta_backward",
];

const SHAPE: AttentionShape = AttentionShape {
    batch: 2,
    queries: 3,
    heads: 4,
    kv_heads: 2,
    head_dim: 5,
    keys: 6,
    capacity: 7,
    first_query: 3,
    window: None,
    scale: 1.0,
};
const QUERIES: usize = 2 * 3 * 4 * 5;
const CACHE: usize = 2 * 7 * 2 * 5;
const PATTERN: usize = 2 * 4 * 3 * 6;

fn calls<B: Backend>(b: &B) -> Vec<(&'static str, Vec<usize>, Call)> {
    const ACT: ActivationKind = ActivationKind::Gelu;
    const NORM: NormKind = NormKind::Layer;
    let (n, width) = (3, 4);
    let rows = n * width;
    let mut all: Vec<(&'static str, Vec<usize>, Call)> = Vec::new();
    let mut call = |op, needed: &[usize], call: Call| all.push((op, needed.to_vec(), call));
    // The closures own a copy of the backend, so that they can live in one list.
    macro_rules! with {
        ($op:literal, $needed:expr, |$b:ident, $l:ident| $body:expr) => {{
            let $b = b.clone();
            call($op, &$needed, Box::new(move |$l: &[usize]| $body));
        }};
    }
    with!("write", [5], |b, l| b.write(&mut b.zeros(l[0]), 2, &[0.0; 3]));
    with!("read", [5], |b, l| b.read(&b.zeros(l[0]), 2, &mut [0.0; 3]));
    with!("matrix", [24], |b, l| b
        .matrix(StoredValues::F32(&vec![0; l[0]]), 2, 3)
        .map(|_| ()));
    with!("matrix_from_transposed", [12], |b, l| {
        b.matrix_from_transposed(StoredValues::Bf16(&vec![0; l[0]]), 2, 3)
            .map(|_| ())
    });
    with!("matrix_rows", [8], |b, l| b.matrix_rows(
        &matrix(&b, 1, 3, 4),
        &[0, 2],
        &mut b.zeros(l[0])
    ));
    with!("copy", [5, 5], |b, l| b.copy(
        &b.zeros(l[0]),
        5,
        &mut b.zeros(l[1])
    ));
    with!("fill", [5], |b, l| b.fill(&mut b.zeros(l[0]), 5, 1.0));
    with!("gather_rows", [12, 8], |b, l| b.gather_rows(
        &b.zeros(l[0]),
        4,
        &[2, 0],
        &mut b.zeros(l[1])
    ));
    with!("scatter_rows", [8, 12], |b, l| b.scatter_rows(
        &b.zeros(l[0]),
        4,
        &[2, 0],
        &mut b.zeros(l[1])
    ));
    with!("cache_write", [2 * 3 * 10, CACHE], |b, l| {
        b.cache_write(&b.zeros(l[0]), &SHAPE, &mut b.zeros(l[1]))
    });
    with!("cache_select", [2 * 5 * 3, 2 * 4 * 3], |b, l| {
        b.cache_select(&b.zeros(l[0]), 5, 3, 4, &[1, 0], 4, &mut b.zeros(l[1]))
    });
    with!("add", [5, 5], |b, l| b.add(&b.zeros(l[0]), 5, &mut b.zeros(l[1])));
    with!("multiply_rows", [rows, width], |b, l| {
        b.multiply_rows(&mut b.zeros(l[0]), n, width, &b.zeros(l[1]))
    });
    with!("activation", [5, 5], |b, l| b.activation(
        ACT,
        &b.zeros(l[0]),
        5,
        &mut b.zeros(l[1])
    ));
    with!("activation_backward", [5; 3], |b, l| {
        b.activation_backward(ACT, &b.zeros(l[0]), &b.zeros(l[1]), 5, &mut b.zeros(l[2]))
    });
    with!("gated_activation", [5; 3], |b, l| {
        b.gated_activation(ACT, &b.zeros(l[0]), &b.zeros(l[1]), 5, &mut b.zeros(l[2]))
    });
    with!("gated_activation_backward", [5; 5], |b, l| {
        let (gate, up, d_y) = (b.zeros(l[0]), b.zeros(l[1]), b.zeros(l[2]));
        b.gated_activation_backward(ACT, &gate, &up, &d_y, 5, &mut b.zeros(l[3]), &mut b.zeros(l[4]))
    });
    with!("embed", [8], |b, l| b.embed(
        &matrix(&b, 1, 3, 4),
        &[0, 2],
        &mut b.zeros(l[0])
    ));
    with!("linear", [12, 5, 15], |b, l| {
        let (matrix, bias) = (matrix(&b, 1, 5, 4), b.zeros(l[1]));
        b.linear(&b.zeros(l[0]), 3, &matrix, Some(&bias), &mut b.zeros(l[2]))
    });
    with!("linear_backward", [15, 12], |b, l| {
        b.linear_backward(&b.zeros(l[0]), 3, &matrix(&b, 1, 5, 4), false, &mut b.zeros(l[1]))
    });
    with!("matmul", [6, 8, 12], |b, l| {
        let (lhs, rhs) = (b.zeros(l[1]), b.zeros(l[2]));
        b.matmul(
            &mut b.zeros(l[0]),
            2,
            3,
            &lhs,
            Layout::Normal,
            &rhs,
            Layout::Transposed,
            4,
            0.0,
            1.0,
        )
    });
    with!("norm_scale", [rows, n], |b, l| {
        b.norm_scale(NORM, &b.zeros(l[0]), n, width, 1e-5, &mut b.zeros(l[1]))
    });
    with!("norm_apply", [rows, n, width, width, rows], |b, l| {
        let (x, scale, weight, bias) = (b.zeros(l[0]), b.zeros(l[1]), b.zeros(l[2]), b.zeros(l[3]));
        b.norm_apply(
            NORM,
            &x,
            &scale,
            n,
            width,
            Some(&weight),
            Some(&bias),
            &mut b.zeros(l[4]),
        )
    });
    with!("norm_apply_backward", [rows, n, rows, width, rows, n], |b, l| {
        let (x, scale, d_y, weight) = (b.zeros(l[0]), b.zeros(l[1]), b.zeros(l[2]), b.zeros(l[3]));
        let (mut d_x, mut d_scale) = (b.zeros(l[4]), b.zeros(l[5]));
        b.norm_apply_backward(
            NORM,
            &x,
            &scale,
            &d_y,
            n,
            width,
            Some(&weight),
            true,
            &mut d_x,
            &mut d_scale,
        )
    });
    with!("norm_scale_backward", [rows, n, n, rows], |b, l| {
        let (x, scale, d_scale) = (b.zeros(l[0]), b.zeros(l[1]), b.zeros(l[2]));
        b.norm_scale_backward(NORM, &x, &scale, &d_scale, n, width, &mut b.zeros(l[3]))
    });
    with!("rotary", [3 * 2 * 6, 5 * 3, 5 * 3, 3], |b, l| {
        let positions = &[0, 4, 1][..l[3]];
        let (cos, sin) = (b.zeros(l[1]), b.zeros(l[2]));
        b.rotary(&mut b.zeros(l[0]), 3, 2, 6, &cos, &sin, 3, positions, false)
    });
    with!("attention", [QUERIES, CACHE, CACHE, 2, QUERIES], |b, l| {
        let (q, k, v) = (b.zeros(l[0]), b.zeros(l[1]), b.zeros(l[2]));
        b.attention(&q, &k, &v, &SHAPE, &[0; 2][..l[3]], &mut b.zeros(l[4]))
    });
    with!(
        "attention_after_shared",
        [QUERIES, CACHE, CACHE, 2, CACHE, CACHE, 2, QUERIES],
        |b, l| {
            let (q, k, v) = (b.zeros(l[0]), b.zeros(l[1]), b.zeros(l[2]));
            let shared = SharedKeys {
                key: &b.zeros(l[4]),
                value: &b.zeros(l[5]),
                capacity: SHAPE.capacity,
                prompt: &[1, 0][..l[6]],
                first: &[0; 2],
                end: SHAPE.capacity,
            };
            b.attention_after_shared(&q, &shared, &k, &v, &SHAPE, &[0; 2][..l[3]], &mut b.zeros(l[7]))
        }
    );
    with!("attention_scores", [QUERIES, CACHE, 2, PATTERN], |b, l| {
        b.attention_scores(
            &b.zeros(l[0]),
            &b.zeros(l[1]),
            &SHAPE,
            &[0; 2][..l[2]],
            &mut b.zeros(l[3]),
        )
    });
    with!("softmax", [rows], |b, l| b.softmax(&mut b.zeros(l[0]), n, width));
    with!("attention_mix", [PATTERN, CACHE, QUERIES], |b, l| {
        b.attention_mix(&b.zeros(l[0]), &b.zeros(l[1]), &SHAPE, &mut b.zeros(l[2]))
    });
    with!(
        "attention_mix_backward",
        [QUERIES, PATTERN, CACHE, PATTERN, CACHE],
        |b, l| {
            let (d_z, pattern, v) = (b.zeros(l[0]), b.zeros(l[1]), b.zeros(l[2]));
            b.attention_mix_backward(&d_z, &pattern, &v, &SHAPE, &mut b.zeros(l[3]), &mut b.zeros(l[4]))
        }
    );
    with!("softmax_backward", [rows, rows], |b, l| {
        b.softmax_backward(&b.zeros(l[0]), n, width, &mut b.zeros(l[1]))
    });
    with!(
        "attention_scores_backward",
        [PATTERN, QUERIES, CACHE, 2, QUERIES, CACHE],
        |b, l| {
            let (d_scores, q, k) = (b.zeros(l[0]), b.zeros(l[1]), b.zeros(l[2]));
            let (mut d_q, mut d_k) = (b.zeros(l[4]), b.zeros(l[5]));
            b.attention_scores_backward(&d_scores, &q, &k, &SHAPE, &[0; 2][..l[3]], &mut d_q, &mut d_k)
        }
    );
    with!("set_rows", [rows, 2 * width], |b, l| {
        b.set_rows(&mut b.zeros(l[0]), width, &[2, 1, 0], &b.zeros(l[1]), 2)
    });
    with!("add_rows", [rows, 2 * width], |b, l| {
        b.add_rows(&mut b.zeros(l[0]), width, &[2, 1, 0], &b.zeros(l[1]), 2)
    });
    with!("scale_rows", [rows], |b, l| b.scale_rows(
        &mut b.zeros(l[0]),
        width,
        &[2],
        0.5
    ));
    with!("feature_delta", [rows, 2 * width, 2 * width, 2, 2], |b, l| {
        let (encoder, decoder) = (b.zeros(l[1]), b.zeros(l[2]));
        let values = [0.0; 2];
        let features = FeatureRows {
            encoder: &encoder,
            decoder: &decoder,
            bias: &values[..l[3]],
            threshold: &values[..l[4]],
        };
        b.feature_delta(
            &mut b.zeros(l[0]),
            width,
            &features,
            &[FeatureDelta {
                row: 2,
                feature: 1,
                value: 1.0,
            }],
        )
    });
    with!(
        "feature_delta_backward",
        [rows, rows, 2 * width, 2 * width, 2, 2],
        |b, l| {
            let (encoder, decoder) = (b.zeros(l[2]), b.zeros(l[3]));
            let values = [0.0; 2];
            let features = FeatureRows {
                encoder: &encoder,
                decoder: &decoder,
                bias: &values[..l[4]],
                threshold: &values[..l[5]],
            };
            let deltas = [FeatureDelta {
                row: 2,
                feature: 1,
                value: 1.0,
            }];
            b.feature_delta_backward(&b.zeros(l[0]), &mut b.zeros(l[1]), width, &features, &deltas)
        }
    );
    with!("threshold", [rows, width], |b, l| b.threshold(
        &mut b.zeros(l[0]),
        n,
        width,
        &b.zeros(l[1])
    ));
    with!("keep_top_k", [rows], |b, l| b.keep_top_k(
        &mut b.zeros(l[0]),
        n,
        width,
        2
    ));
    with!("top_entries", [rows], |b, l| b
        .top_entries(&b.zeros(l[0]), n, width, 2)
        .map(|_| ()));
    with!("vocabulary_statistics", [rows], |b, l| {
        b.vocabulary_statistics(&b.zeros(l[0]), n, width).map(|_| ())
    });
    with!("first_non_finite", [rows], |b, l| b
        .first_non_finite(&b.zeros(l[0]), n, width)
        .map(|_| ()));
    all
}

fn indices<B: Backend>(b: &B) {
    let (mut dst, src, matrix) = (b.zeros(100), b.upload(&numbers(1, 12)), matrix(b, 1, 3, 4));
    let (cos, sin) = (b.zeros(15), b.zeros(15));
    let features = FeatureRows {
        encoder: &src,
        decoder: &src,
        bias: &[0.0; 3],
        threshold: &[0.0; 3],
    };
    let delta = |row, feature| {
        [FeatureDelta {
            row,
            feature,
            value: 0.0,
        }]
    };
    let mut short = b.zeros(12);
    for (name, result, index, limit) in [
        ("matrix_rows", b.matrix_rows(&matrix, &[0, 3], &mut dst), 3, 3),
        (
            "embed",
            b.embed(&matrix, &[u32::MAX], &mut dst),
            u32::MAX as usize,
            3,
        ),
        ("gather_rows", b.gather_rows(&src, 4, &[1, 3], &mut dst), 3, 3),
        ("scatter_rows", b.scatter_rows(&src, 4, &[7, 3], &mut short), 7, 3),
        (
            "cache_select",
            b.cache_select(&src, 3, 2, 1, &[0, 2], 4, &mut dst),
            2,
            2,
        ),
        (
            "rotary",
            b.rotary(&mut dst, 2, 2, 6, &cos, &sin, 3, &[1, 5], false),
            5,
            5,
        ),
        ("set_rows", b.set_rows(&mut short, 4, &[3], &src, 1), 3, 3),
        ("add_rows", b.add_rows(&mut short, 4, &[3], &src, 1), 3, 3),
        ("scale_rows", b.scale_rows(&mut short, 4, &[3], 0.0), 3, 3),
        (
            "feature_delta",
            b.feature_delta(&mut short, 4, &features, &delta(3, 0)),
            3,
            3,
        ),
        (
            "feature_delta",
            b.feature_delta(&mut short, 4, &features, &delta(0, 3)),
            3,
            3,
        ),
        (
            "feature_delta_backward",
            b.feature_delta_backward(&src, &mut short, 4, &features, &delta(0, 9)),
            9,
            3,
        ),
    ] {
        match result {
            Err(KernelError::Index {
                op,
                index: found,
                limit: found_limit,
                ..
            }) => {
                assert_eq!((op, found, found_limit), (name, index, limit));
            }
            other => panic!("{name} with an index out of range: {other:?}"),
        }
    }
}

fn parameters<B: Backend>(b: &B) {
    let buffer = b.zeros(1000);
    let attend =
        |shape: AttentionShape| b.attention(&buffer, &buffer, &buffer, &shape, &[0; 2], &mut b.zeros(1000));
    let refused = [
        ("no heads", attend(AttentionShape { heads: 0, ..SHAPE })),
        (
            "no key/value heads",
            attend(AttentionShape { kv_heads: 0, ..SHAPE }),
        ),
        (
            "heads that do not divide",
            attend(AttentionShape { kv_heads: 3, ..SHAPE }),
        ),
        (
            "heads of no width",
            attend(AttentionShape { head_dim: 0, ..SHAPE }),
        ),
        (
            "more keys than slots",
            attend(AttentionShape { keys: 8, ..SHAPE }),
        ),
        (
            "queries beyond the keys",
            attend(AttentionShape {
                first_query: 4,
                ..SHAPE
            }),
        ),
        (
            "queries at the end of the world",
            attend(AttentionShape {
                first_query: usize::MAX,
                ..SHAPE
            }),
        ),
        (
            "an empty window",
            attend(AttentionShape {
                window: Some(0),
                ..SHAPE
            }),
        ),
        ("softmax of no columns", b.softmax(&mut b.zeros(3), 3, 0)),
        (
            "a norm of no columns",
            b.norm_scale(NormKind::Rms, &buffer, 2, 0, 0.0, &mut b.zeros(3)),
        ),
        (
            "no values to set",
            b.set_rows(&mut b.zeros(9), 3, &[0], &buffer, 0),
        ),
        (
            "rows of no width",
            b.gather_rows(&buffer, 0, &[0], &mut b.zeros(9)),
        ),
        (
            "more rotary columns than a head has",
            b.rotary(&mut b.zeros(9), 1, 1, 5, &buffer, &buffer, 3, &[0], false),
        ),
        (
            "a cache that is too small",
            b.cache_select(&buffer, 9, 1, 5, &[0], 4, &mut b.zeros(9)),
        ),
        (
            "bytes beyond the shape",
            b.matrix(StoredValues::F16(&[0; 14]), 2, 3).map(|_| ()),
        ),
    ];
    for (what, result) in refused {
        assert!(
            matches!(result, Err(KernelError::Parameter { .. })),
            "{what}: {result:?}"
        );
    }
    // Shapes whose number of elements exceeds what a machine can count.
    let huge = usize::MAX / 2;
    for result in [
        b.softmax(&mut b.zeros(3), huge, huge),
        b.matmul(
            &mut b.zeros(3),
            huge,
            4,
            &buffer,
            Layout::Normal,
            &buffer,
            Layout::Normal,
            4,
            0.0,
            1.0,
        ),
        attend(AttentionShape { batch: huge, ..SHAPE }),
        b.write(&mut b.zeros(3), usize::MAX, &[0.0]),
    ] {
        assert!(
            matches!(result, Err(KernelError::Shape { .. })),
            "a huge shape: {result:?}"
        );
    }
}
