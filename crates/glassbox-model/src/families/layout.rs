//! Where each weight of a model lies in a checkpoint: tensor names, stored shapes, transpositions, parts.

use std::ops::Range;

use crate::config::ModelConfig;

/// One weight's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSource {
    /// The tensor's name.
    pub name: String,
    /// Its shape as stored.
    pub shape: Vec<usize>,
    /// Whether a matrix is stored as [in, out].
    pub transposed: bool,
    /// The part of the last axis that is this weight; `None` is all of it.
    pub part: Option<Range<usize>>,
}

impl TensorSource {
    /// A tensor that is the weight, as it stands.
    #[must_use]
    pub fn whole(name: impl Into<String>, shape: &[usize]) -> Self {
        Self {
            name: name.into(),
            shape: shape.to_vec(),
            transposed: false,
            part: None,
        }
    }

    /// Elements of the weight.
    #[must_use]
    pub fn elements(&self) -> u64 {
        let Some((&last, leading)) = self.shape.split_last() else {
            return 1;
        };
        let taken = self.part.as_ref().map_or(last, ExactSizeIterator::len);
        leading.iter().map(|&axis| axis as u64).product::<u64>() * taken as u64
    }
}

/// A linear map's places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinearLayout {
    /// The matrix.
    pub weight: TensorSource,
    /// The bias, `[out]`.
    pub bias: Option<TensorSource>,
}

/// A norm's places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NormLayout {
    /// `[d_model]`.
    pub weight: TensorSource,
    /// `[d_model]`; layer norm only.
    pub bias: Option<TensorSource>,
}

/// A block's places; the fields are those of [`crate::weights::BlockWeights`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the same fields as the block's weights")]
pub struct BlockLayout {
    pub ln1: NormLayout,
    pub query: LinearLayout,
    pub key: LinearLayout,
    pub value: LinearLayout,
    pub out: LinearLayout,
    pub ln2: NormLayout,
    pub gate: Option<LinearLayout>,
    pub up: LinearLayout,
    pub down: LinearLayout,
}

/// A model's places; the fields are those of [`crate::weights::Weights`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelLayout {
    /// [vocab, d_model].
    pub embed: TensorSource,
    /// [max_positions, d_model]; learned positions only.
    pub pos_embed: Option<TensorSource>,
    /// From the embedding up.
    pub blocks: Vec<BlockLayout>,
    /// Before the unembedding.
    pub ln_final: NormLayout,
    /// [vocab, d_model]. A tied model has none of its own, but its checkpoint may hold a copy of the embedding here.
    pub head: TensorSource,
}

impl ModelLayout {
    /// Every place, the head's only where the model has one of its own.
    pub fn sources<'a>(&'a self, config: &ModelConfig) -> impl Iterator<Item = &'a TensorSource> + use<'a> {
        fn linear(map: &LinearLayout) -> impl Iterator<Item = &TensorSource> {
            std::iter::once(&map.weight).chain(&map.bias)
        }
        fn norm(norm: &NormLayout) -> impl Iterator<Item = &TensorSource> {
            std::iter::once(&norm.weight).chain(&norm.bias)
        }
        let blocks = self.blocks.iter().flat_map(|block| {
            norm(&block.ln1)
                .chain(
                    [&block.query, &block.key, &block.value, &block.out]
                        .into_iter()
                        .flat_map(linear),
                )
                .chain(norm(&block.ln2))
                .chain(block.gate.iter().chain([&block.up, &block.down]).flat_map(linear))
        });
        let head = (!config.tied).then_some(&self.head);
        std::iter::once(&self.embed)
            .chain(&self.pos_embed)
            .chain(blocks)
            .chain(norm(&self.ln_final))
            .chain(head)
    }
}

/// The prefix under which a checkpoint stores its tensors: the first of `prefixes` with which `anchor` is there,
/// or the first if it is nowhere.
pub(crate) fn prefix<'a>(prefixes: &[&'a str], anchor: &str, has: impl Fn(&str) -> bool) -> &'a str {
    let found = prefixes.iter().find(|prefix| has(&format!("{prefix}{anchor}")));
    found.or(prefixes.first()).copied().unwrap_or_default()
}
