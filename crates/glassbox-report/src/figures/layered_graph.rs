//! A directed graph in columns: one column per layer, nodes as labelled pills, edges as curves from left to right.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Tone;
use crate::markup::Markup;
use crate::svg::{Anchor, Svg, place, text_width};

const PILL_HEIGHT: f64 = 24.0;
const TOP: f64 = 40.0;
/// Height that a node takes in its column.
const NODE_PITCH: f64 = 36.0;
/// Height that an edge takes in a column that it passes.
const PASSAGE_PITCH: f64 = 13.0;
/// Passes of the crossing reduction, left to right and back.
const SWEEPS: usize = 16;

/// A node.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// Column.
    pub(crate) layer: u32,
    /// Written in it; also its key.
    pub(crate) name: String,
    /// Shown when it is pointed at.
    pub(crate) about: String,
    /// Colour, and sign in front of the name.
    pub(crate) tone: Tone,
    /// Whether it is filled (it is a source that was set) or outlined.
    pub(crate) filled: bool,
}

/// An edge between two nodes, by their places in the list.
#[derive(Clone, Debug)]
pub(crate) struct Edge {
    /// Source.
    pub(crate) from: usize,
    /// Target, in a later column.
    pub(crate) to: usize,
    /// Its sign.
    pub(crate) positive: bool,
    /// Its width relative to the widest, 0 to 1.
    pub(crate) weight: f64,
    /// Whether it is drawn faintly, because random sources do as much.
    pub(crate) faint: bool,
    /// Shown when it is pointed at.
    pub(crate) about: String,
}

/// What takes a place in a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    /// A node.
    Node,
    /// An edge on its way to a later column.
    Passage,
}

impl Slot {
    fn pitch(self) -> f64 {
        match self {
            Self::Node => NODE_PITCH,
            Self::Passage => PASSAGE_PITCH,
        }
    }
}

/// The slots of all columns. The first slots are the nodes, in their order.
struct Arrangement {
    slots: Vec<Slot>,
    /// Layer and slots from top to bottom.
    columns: Vec<(u32, Vec<usize>)>,
    /// Per edge its slots from source to target, one in each column.
    routes: Vec<Vec<usize>>,
    /// Middle of each slot from the top of its column, after [`Arrangement::settle`].
    middles: Vec<f64>,
}

impl Arrangement {
    fn new(nodes: &[Node], edges: &[Edge]) -> Self {
        let mut columns: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (index, node) in nodes.iter().enumerate() {
            columns.entry(node.layer).or_default().push(index);
        }
        let mut slots = vec![Slot::Node; nodes.len()];
        let mut routes = Vec::with_capacity(edges.len());
        for edge in edges {
            let mut route = vec![edge.from];
            let (first, last) = (nodes[edge.from].layer, nodes[edge.to].layer);
            for (_, members) in columns
                .iter_mut()
                .filter(|(layer, _)| **layer > first && **layer < last)
            {
                route.push(slots.len());
                members.push(slots.len());
                slots.push(Slot::Passage);
            }
            route.push(edge.to);
            routes.push(route);
        }
        let middles = vec![0.0; slots.len()];
        let mut arrangement = Self {
            slots,
            columns: columns.into_iter().collect(),
            routes,
            middles,
        };
        arrangement.reduce_crossings();
        arrangement
    }

    /// Each slot moves to the mean place of its neighbours, in turn from the left and from the right (Sugiyama, Tagawa and Toda 1981,
    /// barycentre heuristic).
    fn reduce_crossings(&mut self) {
        (0..self.columns.len()).for_each(|column| self.settle(column));
        let mut before: Vec<Vec<usize>> = vec![Vec::new(); self.slots.len()];
        let mut after = before.clone();
        for pair in self.routes.iter().flat_map(|route| route.windows(2)) {
            after[pair[0]].push(pair[1]);
            before[pair[1]].push(pair[0]);
        }
        for sweep in 0..SWEEPS {
            let forward = sweep % 2 == 0;
            let neighbours = if forward { &before } else { &after };
            let mut turns: Vec<usize> = (0..self.columns.len()).collect();
            if !forward {
                turns.reverse();
            }
            for column in turns {
                let centre = |slot: usize| {
                    let places = &neighbours[slot];
                    if places.is_empty() {
                        return self.middles[slot];
                    }
                    places.iter().map(|place| self.middles[*place]).sum::<f64>() / places.len() as f64
                };
                let mut keyed: Vec<(f64, usize)> = self.columns[column]
                    .1
                    .iter()
                    .map(|slot| (centre(*slot), *slot))
                    .collect();
                // A stable sort: equals keep their order, so the drawing is the same every time.
                keyed.sort_by(|one, other| one.0.total_cmp(&other.0));
                self.columns[column].1 = keyed.into_iter().map(|(_, slot)| slot).collect();
                self.settle(column);
            }
        }
    }

    fn height(&self, column: usize) -> f64 {
        self.columns[column]
            .1
            .iter()
            .map(|slot| self.slots[*slot].pitch())
            .sum()
    }

    fn tallest(&self) -> f64 {
        (0..self.columns.len())
            .map(|column| self.height(column))
            .fold(NODE_PITCH, f64::max)
    }

    /// Spreads a column's slots evenly over the height of the tallest one.
    fn settle(&mut self, column: usize) {
        let members = &self.columns[column].1;
        let extra = (self.tallest() - self.height(column)) / members.len().max(1) as f64;
        let mut top = 0.0;
        for slot in members {
            let pitch = self.slots[*slot].pitch() + extra;
            self.middles[*slot] = top + pitch / 2.0;
            top += pitch;
        }
    }
}

/// Draws the graph.
pub(crate) fn layered_graph(label: &str, nodes: &[Node], edges: &[Edge]) -> Markup {
    let arrangement = Arrangement::new(nodes, edges);
    let columns = &arrangement.columns;
    let pill = nodes
        .iter()
        .map(|node| text_width(&node.name, 12.0))
        .fold(0.0f64, f64::max)
        .clamp(50.0, 130.0)
        + 30.0;
    let gap = (920.0 / columns.len().max(2) as f64 - pill).clamp(70.0, 190.0);
    let width = columns.len() as f64 * (pill + gap) - gap + 20.0;
    let mut svg = Svg::new(width.max(200.0), TOP + arrangement.tallest() + 10.0, label);
    let mut lefts = vec![0.0; arrangement.slots.len()];
    for (index, (layer, members)) in columns.iter().enumerate() {
        let left = 10.0 + index as f64 * (pill + gap);
        svg.text(
            (left + pill / 2.0, 16.0),
            Anchor::Middle,
            "head",
            &format!("layer {layer}"),
        );
        svg.line((left, 24.0), (left + pill, 24.0), "rule");
        members.iter().for_each(|slot| lefts[*slot] = left);
    }
    let middle = |slot: usize| TOP + arrangement.middles[slot];
    for (edge, route) in edges.iter().zip(&arrangement.routes) {
        let mut path = format!("M{} {}", place(lefts[edge.from] + pill), place(middle(edge.from)));
        for pair in route.windows(2) {
            let (start, end) = (lefts[pair[0]] + pill, lefts[pair[1]]);
            let (from, to) = (middle(pair[0]), middle(pair[1]));
            let bend = (end - start) * 0.5;
            let controls = [(start + bend, from), (end - bend, to), (end, to)];
            let controls = controls.map(|(x, y)| format!("{} {}", place(x), place(y)));
            // Writing into a String cannot fail.
            let _ = write!(path, "C{}", controls.join(" "));
            if arrangement.slots[pair[1]] == Slot::Passage {
                let _ = write!(path, "H{}", place(end + pill));
            }
        }
        let class = match (edge.positive, edge.faint) {
            (true, false) => "edge edge-up",
            (false, false) => "edge edge-down",
            (true, true) => "edge edge-up faint",
            (false, true) => "edge edge-down faint",
        };
        let key = format!("{}|{}", nodes[edge.from].name, nodes[edge.to].name);
        svg.begin("mark link", &key, &edge.about);
        svg.path(&path, 10.0, "edge-hit");
        svg.path(&path, 1.0 + 3.5 * edge.weight.clamp(0.0, 1.0), class);
        svg.end();
    }
    for (index, node) in nodes.iter().enumerate() {
        let (left, y) = (lefts[index], middle(index));
        let sign = match node.tone {
            Tone::Up => "▲ ",
            Tone::Down => "▼ ",
            _ => "",
        };
        svg.begin("mark node", &node.name, &node.about);
        let class = format!(
            "{} pill{}",
            node.tone.hollow(),
            if node.filled { "" } else { " pill-target" }
        );
        svg.rounded_rectangle(
            (left, y - PILL_HEIGHT / 2.0),
            (left + pill, y + PILL_HEIGHT / 2.0),
            PILL_HEIGHT / 2.0,
            &class,
        );
        let text = format!("{sign}{}", node.name);
        let class = if node.filled { "label strong" } else { "label" };
        svg.text((left + pill / 2.0, y + 4.2), Anchor::Middle, class, &text);
        svg.end();
    }
    svg.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(layer: u32, name: &str) -> Node {
        Node {
            layer,
            name: name.into(),
            about: String::new(),
            tone: Tone::Neutral,
            filled: true,
        }
    }

    fn edge(from: usize, to: usize) -> Edge {
        Edge {
            from,
            to,
            positive: true,
            weight: 1.0,
            faint: false,
            about: String::new(),
        }
    }

    #[test]
    fn crossings_that_can_be_undone_are_undone() {
        let nodes = [
            node(0, "a"),
            node(0, "b"),
            node(0, "c"),
            node(3, "x"),
            node(3, "y"),
            node(3, "z"),
        ];
        let edges = [edge(0, 5), edge(1, 4), edge(2, 3)];
        let arrangement = Arrangement::new(&nodes, &edges);
        let left = &arrangement.columns[0].1;
        let right = &arrangement.columns[1].1;
        let crossings = edges
            .iter()
            .enumerate()
            .flat_map(|(i, one)| edges[..i].iter().map(move |other| (one, other)));
        let rank = |list: &[usize], node: usize| list.iter().position(|entry| *entry == node).unwrap();
        for (one, other) in crossings {
            let sides = rank(left, one.from).cmp(&rank(left, other.from));
            assert_eq!(sides, rank(right, one.to).cmp(&rank(right, other.to)));
        }
    }

    #[test]
    fn an_edge_over_a_column_has_a_place_in_it() {
        let nodes = [node(0, "a"), node(2, "b"), node(5, "c")];
        let arrangement = Arrangement::new(&nodes, &[edge(0, 2), edge(0, 1)]);
        assert_eq!(arrangement.routes, [vec![0, 3, 2], vec![0, 1]]);
        let passed = &arrangement.columns[1].1;
        assert_eq!(passed.len(), 2);
        assert!((arrangement.middles[3] - arrangement.middles[1]).abs() >= PASSAGE_PITCH);
    }

    #[test]
    fn a_graph_without_edges_or_nodes_is_drawn() {
        assert!(layered_graph("g", &[], &[]).to_string().contains("<svg"));
        assert!(
            layered_graph("g", &[node(7, "L7-1")], &[])
                .to_string()
                .contains("L7-1")
        );
    }
}
