//! Figures: one file per kind, each from plain numbers to a drawing. What the numbers mean is said by the sections.

mod axis;
pub(crate) mod curves;
pub(crate) mod diverging_bars;
pub(crate) mod dumbbell;
pub(crate) mod effect_by_layer;
pub(crate) mod forest_plot;
pub(crate) mod heat_map;
pub(crate) mod histogram;
pub(crate) mod interval_bars;
pub(crate) mod interval_strip;
pub(crate) mod layered_graph;
pub(crate) mod scatter;
pub(crate) mod stacked_bars;

/// What a colour stands for. No figure relies on it alone: shapes, outlines, dashes or positions say the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Prompt family A.
    A,
    /// Prompt family B.
    B,
    /// A rise.
    Up,
    /// A fall.
    Down,
    /// Neither.
    Neutral,
}

impl Tone {
    /// The tone of a signed effect.
    pub(crate) fn of_sign(effect: f64) -> Self {
        if effect > 0.0 {
            Self::Up
        } else if effect < 0.0 {
            Self::Down
        } else {
            Self::Neutral
        }
    }

    /// Class of a filled shape.
    pub(crate) fn filled(self) -> &'static str {
        match self {
            Self::A => "fill-a",
            Self::B => "fill-b",
            Self::Up => "fill-up",
            Self::Down => "fill-down",
            Self::Neutral => "fill-neutral",
        }
    }

    /// Class of an outlined shape.
    pub(crate) fn hollow(self) -> &'static str {
        match self {
            Self::A => "hollow-a",
            Self::B => "hollow-b",
            Self::Up => "hollow-up",
            Self::Down => "hollow-down",
            Self::Neutral => "hollow-neutral",
        }
    }

    /// Class of a line.
    pub(crate) fn stroked(self) -> &'static str {
        match self {
            Self::A => "stroke-a",
            Self::B => "stroke-b",
            Self::Up => "stroke-up",
            Self::Down => "stroke-down",
            Self::Neutral => "stroke-neutral",
        }
    }
}
