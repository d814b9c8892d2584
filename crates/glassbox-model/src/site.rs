//! Named points of the forward pass, with TransformerLens's names.

use std::fmt;

/// Which norm of a block, or the final one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Norm {
    /// Before attention: `blocks.{l}.ln1`.
    Attention(u32),
    /// Before the MLP: `blocks.{l}.ln2`.
    Mlp(u32),
    /// Before the unembedding: `ln_final`.
    Final,
}

/// A named point of the forward pass. `l` counts blocks from 0.
///
/// | site | TransformerLens name | shape |
/// |---|---|---|
/// | `Embed` | `hook_embed` | [batch, pos, d_model] |
/// | `PosEmbed` | `hook_pos_embed` (learned positions only) | [batch, pos, d_model] |
/// | `ResidPre` `ResidMid` `ResidPost` | `blocks.{l}.hook_resid_pre` … | [batch, pos, d_model] |
/// | `NormScale` | `….hook_scale` | [batch, pos, 1] |
/// | `NormNormalized` | `….hook_normalized` (RMS: before the weight; layer norm: after weight and bias) | [batch, pos, d_model] |
/// | `Query` `Key` `Value` | `blocks.{l}.attn.hook_q` … (before rotary, after bias) | [batch, pos, heads or kv heads, d_head] |
/// | `RotaryQuery` `RotaryKey` | `blocks.{l}.attn.hook_rot_q`, `hook_rot_k` | as `Query`, `Key` |
/// | `AttentionScores` `AttentionPattern` | `blocks.{l}.attn.hook_attn_scores`, `hook_pattern` | [batch, head, query, key] |
/// | `Mixed` | `blocks.{l}.attn.hook_z` | [batch, pos, head, d_head] |
/// | `AttentionOut` | `blocks.{l}.hook_attn_out` | [batch, pos, d_model] |
/// | `MlpPre` | `blocks.{l}.mlp.hook_pre` (argument of the activation) | [batch, pos, d_mlp] |
/// | `MlpPreLinear` | `blocks.{l}.mlp.hook_pre_linear` (gated MLPs: the linear branch) | [batch, pos, d_mlp] |
/// | `MlpPost` | `blocks.{l}.mlp.hook_post` | [batch, pos, d_mlp] |
/// | `MlpOut` | `blocks.{l}.hook_mlp_out` | [batch, pos, d_model] |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the table above names every variant")]
pub enum Site {
    Embed,
    PosEmbed,
    ResidPre(u32),
    ResidMid(u32),
    ResidPost(u32),
    NormScale(Norm),
    NormNormalized(Norm),
    Query(u32),
    Key(u32),
    Value(u32),
    RotaryQuery(u32),
    RotaryKey(u32),
    AttentionScores(u32),
    AttentionPattern(u32),
    Mixed(u32),
    AttentionOut(u32),
    MlpPre(u32),
    MlpPreLinear(u32),
    MlpPost(u32),
    MlpOut(u32),
}

impl fmt::Display for Norm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attention(l) => write!(f, "blocks.{l}.ln1"),
            Self::Mlp(l) => write!(f, "blocks.{l}.ln2"),
            Self::Final => write!(f, "ln_final"),
        }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embed => write!(f, "hook_embed"),
            Self::PosEmbed => write!(f, "hook_pos_embed"),
            Self::ResidPre(l) => write!(f, "blocks.{l}.hook_resid_pre"),
            Self::ResidMid(l) => write!(f, "blocks.{l}.hook_resid_mid"),
            Self::ResidPost(l) => write!(f, "blocks.{l}.hook_resid_post"),
            Self::NormScale(norm) => write!(f, "{norm}.hook_scale"),
            Self::NormNormalized(norm) => write!(f, "{norm}.hook_normalized"),
            Self::Query(l) => write!(f, "blocks.{l}.attn.hook_q"),
            Self::Key(l) => write!(f, "blocks.{l}.attn.hook_k"),
            Self::Value(l) => write!(f, "blocks.{l}.attn.hook_v"),
            Self::RotaryQuery(l) => write!(f, "blocks.{l}.attn.hook_rot_q"),
            Self::RotaryKey(l) => write!(f, "blocks.{l}.attn.hook_rot_k"),
            Self::AttentionScores(l) => write!(f, "blocks.{l}.attn.hook_attn_scores"),
            Self::AttentionPattern(l) => write!(f, "blocks.{l}.attn.hook_pattern"),
            Self::Mixed(l) => write!(f, "blocks.{l}.attn.hook_z"),
            Self::AttentionOut(l) => write!(f, "blocks.{l}.hook_attn_out"),
            Self::MlpPre(l) => write!(f, "blocks.{l}.mlp.hook_pre"),
            Self::MlpPreLinear(l) => write!(f, "blocks.{l}.mlp.hook_pre_linear"),
            Self::MlpPost(l) => write!(f, "blocks.{l}.mlp.hook_post"),
            Self::MlpOut(l) => write!(f, "blocks.{l}.hook_mlp_out"),
        }
    }
}
