//! Named points of the forward pass, with TransformerLens's names.

use std::fmt;
use std::str::FromStr;

use globset::Glob;
use thiserror::Error;

use crate::config::{ModelConfig, PositionKind};
use crate::nearest::nearest;

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
/// | `MlpIn` | `blocks.{l}.mlp.hook_in` (what the MLP reads: after the norm's weight and bias) | [batch, pos, d_model] |
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
    MlpIn(u32),
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
            Self::MlpIn(l) => write!(f, "blocks.{l}.mlp.hook_in"),
            Self::MlpPre(l) => write!(f, "blocks.{l}.mlp.hook_pre"),
            Self::MlpPreLinear(l) => write!(f, "blocks.{l}.mlp.hook_pre_linear"),
            Self::MlpPost(l) => write!(f, "blocks.{l}.mlp.hook_post"),
            Self::MlpOut(l) => write!(f, "blocks.{l}.hook_mlp_out"),
        }
    }
}

/// A site's name that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SiteError {
    /// No site of any model has this name.
    #[error("there is no site named `{name}`; the nearest names are {}", nearest.join(", "))]
    Unknown {
        /// The name as given.
        name: String,
        /// Valid names, nearest first.
        nearest: Vec<String>,
    },
    /// The name is a site's, but this model does not have it.
    #[error("this model has no site `{name}` ({reason}); the nearest names are {}", nearest.join(", "))]
    Missing {
        /// The name as given.
        name: String,
        /// Why the model lacks it.
        reason: String,
        /// Valid names of this model, nearest first.
        nearest: Vec<String>,
    },
    /// A pattern selects no site of this model.
    #[error("the pattern `{pattern}` selects no site of this model; the nearest names are {}", nearest.join(", "))]
    NoMatch {
        /// The pattern as given.
        pattern: String,
        /// Valid names of this model, nearest first.
        nearest: Vec<String>,
    },
    /// A pattern is not a glob.
    #[error("`{pattern}` is not a valid pattern: {reason}")]
    Pattern {
        /// The pattern as given.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// How a site's values lie in its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SiteAxes {
    /// [batch, pos, width].
    Rows {
        /// Width of one row.
        width: usize,
    },
    /// [batch, pos, heads, width].
    Heads {
        /// Heads, or key/value heads.
        heads: usize,
        /// Width of one head.
        width: usize,
    },
    /// [batch, head, query, key].
    Attention {
        /// Query heads.
        heads: usize,
    },
}

impl SiteAxes {
    /// The shape for a pass of `batch` rows, `queries` positions each, that see `keys` slots.
    #[must_use]
    pub fn shape(self, batch: usize, queries: usize, keys: usize) -> Vec<usize> {
        match self {
            Self::Rows { width } => vec![batch, queries, width],
            Self::Heads { heads, width } => vec![batch, queries, heads, width],
            Self::Attention { heads } => vec![batch, heads, queries, keys],
        }
    }

    /// Elements for a pass of `batch` rows, `queries` positions each, that see `keys` slots.
    #[must_use]
    pub fn len(self, batch: usize, queries: usize, keys: usize) -> usize {
        batch
            * queries
            * match self {
                Self::Rows { width } => width,
                Self::Heads { heads, width } => heads * width,
                Self::Attention { heads } => heads * keys,
            }
    }

    /// Batch row, position and element within the position's values (the key, for scores and patterns) of the value at
    /// `index`, in a pass of `queries` positions per row that see `keys` slots.
    #[must_use]
    pub fn place(self, index: usize, queries: usize, keys: usize) -> (usize, usize, usize) {
        match self {
            Self::Rows { width } => (index / width / queries, index / width % queries, index % width),
            Self::Heads { heads, width } => Self::Rows { width: heads * width }.place(index, queries, keys),
            Self::Attention { heads } => (
                index / keys / queries / heads,
                index / keys % queries,
                index % keys,
            ),
        }
    }

    /// Heads, if the site has a head axis.
    #[must_use]
    pub fn heads(self) -> Option<usize> {
        match self {
            Self::Rows { .. } => None,
            Self::Heads { heads, .. } | Self::Attention { heads } => Some(heads),
        }
    }

    /// Width of the rows that an edit gets: one head's where `per_head`, else all of a position's values.
    /// `None` for scores and patterns, whose rows are as wide as the pass has slots.
    #[must_use]
    pub fn edit_width(self, per_head: bool) -> Option<usize> {
        match self {
            Self::Rows { width } => Some(width),
            Self::Heads { heads, width } => Some(if per_head { width } else { heads * width }),
            Self::Attention { .. } => None,
        }
    }
}

impl Norm {
    /// Block of the norm; `None` for the final one.
    #[must_use]
    pub fn layer(self) -> Option<u32> {
        match self {
            Self::Attention(l) | Self::Mlp(l) => Some(l),
            Self::Final => None,
        }
    }
}

impl Site {
    /// Block of the site; `None` for those before and after the blocks.
    #[must_use]
    pub fn layer(self) -> Option<u32> {
        match self {
            Self::Embed | Self::PosEmbed => None,
            Self::NormScale(norm) | Self::NormNormalized(norm) => norm.layer(),
            Self::ResidPre(l)
            | Self::ResidMid(l)
            | Self::ResidPost(l)
            | Self::Query(l)
            | Self::Key(l)
            | Self::Value(l)
            | Self::RotaryQuery(l)
            | Self::RotaryKey(l)
            | Self::AttentionScores(l)
            | Self::AttentionPattern(l)
            | Self::Mixed(l)
            | Self::AttentionOut(l)
            | Self::MlpIn(l)
            | Self::MlpPre(l)
            | Self::MlpPreLinear(l)
            | Self::MlpPost(l)
            | Self::MlpOut(l) => Some(l),
        }
    }

    /// How the site's values lie in a model of this configuration.
    #[must_use]
    pub fn axes(self, config: &ModelConfig) -> SiteAxes {
        match self {
            Self::Embed
            | Self::PosEmbed
            | Self::ResidPre(_)
            | Self::ResidMid(_)
            | Self::ResidPost(_)
            | Self::NormNormalized(_)
            | Self::AttentionOut(_)
            | Self::MlpIn(_)
            | Self::MlpOut(_) => SiteAxes::Rows {
                width: config.d_model,
            },
            Self::NormScale(_) => SiteAxes::Rows { width: 1 },
            Self::MlpPre(_) | Self::MlpPreLinear(_) | Self::MlpPost(_) => {
                SiteAxes::Rows { width: config.d_mlp }
            }
            Self::Query(_) | Self::RotaryQuery(_) | Self::Mixed(_) => SiteAxes::Heads {
                heads: config.n_heads,
                width: config.d_head,
            },
            Self::Key(_) | Self::RotaryKey(_) | Self::Value(_) => SiteAxes::Heads {
                heads: config.n_kv_heads,
                width: config.d_head,
            },
            Self::AttentionScores(_) | Self::AttentionPattern(_) => SiteAxes::Attention {
                heads: config.n_heads,
            },
        }
    }

    /// The sites of one block in the order of the pass.
    fn of_block(l: u32, config: &ModelConfig, into: &mut Vec<Self>) {
        let rotary = is_rotary(config);
        into.extend([
            Self::ResidPre(l),
            Self::NormScale(Norm::Attention(l)),
            Self::NormNormalized(Norm::Attention(l)),
            Self::Query(l),
            Self::Key(l),
            Self::Value(l),
        ]);
        if rotary {
            into.extend([Self::RotaryQuery(l), Self::RotaryKey(l)]);
        }
        into.extend([
            Self::AttentionScores(l),
            Self::AttentionPattern(l),
            Self::Mixed(l),
            Self::AttentionOut(l),
            Self::ResidMid(l),
            Self::NormScale(Norm::Mlp(l)),
            Self::NormNormalized(Norm::Mlp(l)),
            Self::MlpIn(l),
            Self::MlpPre(l),
        ]);
        if config.gated_mlp {
            into.push(Self::MlpPreLinear(l));
        }
        into.extend([Self::MlpPost(l), Self::MlpOut(l), Self::ResidPost(l)]);
    }

    /// Every site of a model, in the order of the pass.
    #[must_use]
    pub fn all(config: &ModelConfig) -> Vec<Self> {
        let mut sites = vec![Self::Embed];
        if config.positions == PositionKind::Learned {
            sites.push(Self::PosEmbed);
        }
        for l in 0..config.n_layers {
            Self::of_block(l as u32, config, &mut sites);
        }
        sites.extend([Self::NormScale(Norm::Final), Self::NormNormalized(Norm::Final)]);
        sites
    }

    /// `Ok` if a model of this configuration has the site.
    ///
    /// # Errors
    /// [`SiteError::Missing`] with the reason and the nearest names.
    pub fn check(self, config: &ModelConfig) -> Result<(), SiteError> {
        let reason = match self {
            _ if self.layer().is_some_and(|l| l as usize >= config.n_layers) => {
                format!("its blocks are 0 to {}", config.n_layers.saturating_sub(1))
            }
            Self::PosEmbed if config.positions != PositionKind::Learned => {
                "its positions are rotary, not learned".to_owned()
            }
            Self::RotaryQuery(_) | Self::RotaryKey(_) if !is_rotary(config) => {
                "its positions are learned, not rotary".to_owned()
            }
            Self::MlpPreLinear(_) if !config.gated_mlp => "its MLPs are not gated".to_owned(),
            _ => return Ok(()),
        };
        let name = self.to_string();
        let nearest = nearest(&name, Self::all(config).iter().map(ToString::to_string));
        Err(SiteError::Missing {
            name,
            reason,
            nearest,
        })
    }

    /// Reads a name and checks that this model has the site.
    ///
    /// # Errors
    /// [`SiteError::Unknown`] or [`SiteError::Missing`], with this model's nearest names.
    pub fn parse(name: &str, config: &ModelConfig) -> Result<Self, SiteError> {
        let Ok(site) = name.parse::<Self>() else {
            let nearest = nearest(name, Self::all(config).iter().map(ToString::to_string));
            return Err(SiteError::Unknown {
                name: name.to_owned(),
                nearest,
            });
        };
        site.check(config)?;
        Ok(site)
    }

    /// The sites of this model that a glob pattern selects (`blocks.*.hook_resid_post`, `blocks.{0,3}.attn.*`),
    /// in the order of the pass.
    ///
    /// # Errors
    /// [`SiteError::Pattern`] if it is no glob, [`SiteError::NoMatch`] if it selects nothing.
    pub fn select(pattern: &str, config: &ModelConfig) -> Result<Vec<Self>, SiteError> {
        Self::select_among(pattern, &Self::all(config))
    }

    /// As [`Site::select`], of some sites and in their order.
    ///
    /// # Errors
    /// As [`Site::select`].
    pub fn select_among(pattern: &str, all: &[Self]) -> Result<Vec<Self>, SiteError> {
        let matcher = Glob::new(pattern)
            .map_err(|error| SiteError::Pattern {
                pattern: pattern.to_owned(),
                reason: error.kind().to_string(),
            })?
            .compile_matcher();
        let selected: Vec<Self> = all
            .iter()
            .copied()
            .filter(|site| matcher.is_match(site.to_string()))
            .collect();
        if selected.is_empty() {
            let nearest = nearest(pattern, all.iter().map(ToString::to_string));
            return Err(SiteError::NoMatch {
                pattern: pattern.to_owned(),
                nearest,
            });
        }
        Ok(selected)
    }
}

impl FromStr for Site {
    type Err = SiteError;

    /// Reads an exact TransformerLens name. Whether a given model has the site is for [`Site::check`].
    fn from_str(name: &str) -> Result<Self, SiteError> {
        let layer = block_number(name).unwrap_or(0);
        any_model(layer)
            .into_iter()
            .find(|site| site.to_string() == name)
            .ok_or_else(|| {
                let names = any_model(layer).into_iter().map(|site| site.to_string());
                SiteError::Unknown {
                    name: name.to_owned(),
                    nearest: nearest(name, names),
                }
            })
    }
}

fn is_rotary(config: &ModelConfig) -> bool {
    matches!(config.positions, PositionKind::Rotary { .. })
}

/// The number in `blocks.{number}.…`, if it is written as Rust would write it.
fn block_number(name: &str) -> Option<u32> {
    name.strip_prefix("blocks.")?.split('.').next()?.parse().ok()
}

/// Every site that some model may have outside the blocks and in block `l`.
fn any_model(l: u32) -> Vec<Site> {
    use Site::{
        AttentionOut, AttentionPattern, AttentionScores, Embed, Key, Mixed, MlpIn, MlpOut, MlpPost, MlpPre,
        MlpPreLinear, NormNormalized, NormScale, PosEmbed, Query, ResidMid, ResidPost, ResidPre, RotaryKey,
        RotaryQuery, Value,
    };
    let mut sites = vec![
        Embed,
        PosEmbed,
        ResidPre(l),
        ResidMid(l),
        ResidPost(l),
        Query(l),
        Key(l),
        Value(l),
        RotaryQuery(l),
        RotaryKey(l),
        AttentionScores(l),
        AttentionPattern(l),
        Mixed(l),
        AttentionOut(l),
        MlpIn(l),
        MlpPre(l),
        MlpPreLinear(l),
        MlpPost(l),
        MlpOut(l),
    ];
    for norm in [Norm::Attention(l), Norm::Mlp(l), Norm::Final] {
        sites.extend([NormScale(norm), NormNormalized(norm)]);
    }
    sites
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back() {
        for site in any_model(0).into_iter().chain(any_model(31)) {
            assert_eq!(site.to_string().parse::<Site>().unwrap(), site);
        }
    }

    #[test]
    fn a_misspelt_name_lists_the_nearest() {
        let error = "blocks.7.hook_resid_pots".parse::<Site>().unwrap_err();
        let SiteError::Unknown { nearest, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(nearest[0], "blocks.7.hook_resid_post");
        for name in [
            "",
            "blocks.+3.hook_resid_pre",
            "blocks.03.hook_resid_pre",
            "blocks.3.hook_resid_pre ",
        ] {
            assert!(name.parse::<Site>().is_err(), "{name}");
        }
    }
}
