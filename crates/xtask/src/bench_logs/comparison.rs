//! Whether both sides computed the same: every figure of the peer is looked up in glassbox's JSON.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Map, Value};

/// Largest difference of two numbers, relative to the larger.
const TOLERANCE: f64 = 1e-8;
/// Numbers this near to each other are equal whatever their size: 0 here may be a rounding error there.
const NOTHING: f64 = 1e-12;
/// What rows are known by; a table has some of them.
const IDENTITY: [&str; 11] = [
    "layer",
    "feature",
    "prompt",
    "arm",
    "comparison",
    "measure",
    "word",
    "treatment",
    "name",
    "kind",
    "count",
];

/// All comparisons so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    figures: u64,
    largest: f64,
    ties: u64,
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} figures equal, counts exactly, others to {:.1e} of their size",
            self.figures, self.largest
        )?;
        if self.ties > 0 {
            write!(
                f,
                "; {} rows stand in the list of one side and not of the other, where words tie for the last place",
                self.ties
            )?;
        }
        Ok(())
    }
}

impl Comparison {
    /// Compares what the peer says of one verb with glassbox's JSON.
    ///
    /// # Errors
    /// At the first difference, with its place.
    pub fn add(&mut self, verb: &str, peer: Value, own: &Value) -> Result<()> {
        ensure!(peer.is_object(), "the peer says nothing of {verb}");
        self.values(verb, &peer, own)
    }

    fn values(&mut self, place: &str, peer: &Value, own: &Value) -> Result<()> {
        match (peer, own) {
            (Value::Object(peer), Value::Object(own)) => {
                for (key, value) in peer {
                    let place = format!("{place}.{key}");
                    let own = own.get(key).with_context(|| format!("glassbox has no {place}"))?;
                    self.values(&place, value, own)?;
                }
                Ok(())
            }
            (Value::Array(peer), Value::Array(own)) if peer.iter().all(Value::is_object) => {
                self.tables(place, &rows(peer)?, own)
            }
            // How many there are of what glassbox lists.
            (Value::Number(count), Value::Array(list)) => {
                ensure!(
                    count.as_u64() == Some(list.len() as u64),
                    "{place}: {} in glassbox, {count} in the peer",
                    list.len()
                );
                self.figures += 1;
                Ok(())
            }
            (Value::Number(theirs), Value::Number(ours)) => {
                let (a, b) = (
                    ours.as_f64().unwrap_or(f64::NAN),
                    theirs.as_f64().unwrap_or(f64::NAN),
                );
                let is_count = ours.is_u64() && theirs.is_u64();
                let difference = (a - b).abs();
                let relative = difference / a.abs().max(b.abs());
                let is_close = a == b || !is_count && (difference <= NOTHING || relative <= TOLERANCE);
                ensure!(is_close, "{place}: {ours} in glassbox, {theirs} in the peer");
                if difference > NOTHING {
                    self.largest = self.largest.max(relative);
                }
                self.figures += 1;
                Ok(())
            }
            _ => {
                ensure!(peer == own, "{place}: {own} in glassbox, {peer} in the peer");
                self.figures += 1;
                Ok(())
            }
        }
    }

    fn tables(&mut self, place: &str, peer: &[Map<String, Value>], own: &[Value]) -> Result<()> {
        let Some(first) = peer.first() else {
            return Ok(());
        };
        let identity: Vec<&str> = IDENTITY
            .into_iter()
            .filter(|key| first.contains_key(*key))
            .collect();
        let name = |row: &Map<String, Value>, keys: &[&str]| -> String {
            let parts: Vec<String> = keys
                .iter()
                .map(|key| row.get(*key).map_or(String::new(), Value::to_string))
                .collect();
            parts.join(" ")
        };
        let mut ours: BTreeMap<String, &Map<String, Value>> = BTreeMap::new();
        for row in own {
            let row = row
                .as_object()
                .with_context(|| format!("{place} has a row that is no object"))?;
            ours.insert(name(row, &identity), row);
        }
        let group: Vec<&str> = identity.iter().copied().filter(|key| *key != "word").collect();
        // Rows of one side alone, by what they compete in: only ties for the last place may differ.
        let mut alone: BTreeMap<String, [Vec<f64>; 2]> = BTreeMap::new();
        let p = |row: &Map<String, Value>| row.get("p").and_then(Value::as_f64);
        for row in peer {
            let key = name(row, &identity);
            match ours.remove(&key) {
                Some(own) => {
                    for (column, value) in row {
                        let place = format!("{place}[{key}].{column}");
                        let own = own
                            .get(column)
                            .with_context(|| format!("glassbox has no {place}"))?;
                        self.values(&place, value, own)?;
                    }
                }
                None => match p(row).filter(|_| row.contains_key("word")) {
                    Some(p) => alone.entry(name(row, &group)).or_default()[0].push(p),
                    None => bail!("glassbox has no {place}[{key}]"),
                },
            }
        }
        let has_all = peer.len() == own.len();
        for row in ours
            .into_values()
            .filter(|row| has_all && row.contains_key("word"))
        {
            if let Some(p) = p(row) {
                alone.entry(name(row, &group)).or_default()[1].push(p);
            }
        }
        for (group, [mut theirs, mut ours]) in alone {
            theirs.sort_by(f64::total_cmp);
            ours.sort_by(f64::total_cmp);
            let is_tie = theirs.len() == ours.len()
                && theirs
                    .iter()
                    .zip(&ours)
                    .all(|(a, b)| (a - b).abs() <= TOLERANCE * a.max(*b));
            ensure!(
                is_tie,
                "{place}: other rows of {group} in the peer than in glassbox"
            );
            self.ties += ours.len() as u64;
        }
        Ok(())
    }
}

/// The rows of a table; tables that come as columns are turned.
fn rows(table: &[Value]) -> Result<Vec<Map<String, Value>>> {
    let mut rows = Vec::new();
    for part in table {
        let Some(columns) = part.get("columns").and_then(Value::as_object) else {
            rows.extend(part.as_object().cloned());
            continue;
        };
        let length = columns.values().find_map(Value::as_array).map_or(1, Vec::len);
        for row in 0..length {
            let cells = columns.iter().map(|(name, column)| {
                let cell = match column {
                    Value::Array(values) => values
                        .get(row)
                        .with_context(|| format!("column {name} has no row {row}"))?,
                    // One value for all rows.
                    value => value,
                };
                Ok((name.clone(), cell.clone()))
            });
            rows.push(cells.collect::<Result<_>>()?);
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn compare(peer: Value, own: &Value) -> Result<Comparison> {
        let mut comparison = Comparison::default();
        comparison.add("words", peer, own)?;
        Ok(comparison)
    }

    #[test]
    fn figures_are_looked_up_by_what_rows_are_known_by() {
        let own = json!({
            "totals": { "rows": 3, "other": 1 },
            "found": ["a", "b"],
            "effects": [{ "layer": 1, "feature": 2, "measure": "stop", "p": 0.5 }, { "layer": 1, "feature": 2, "measure": "bet", "p": null }]
        });
        let peer = json!({
            "totals": { "rows": 3 },
            "found": 2,
            "effects": [{ "columns": { "layer": [1, 1], "feature": [2, 2], "measure": ["bet", "stop"], "p": [null, 0.500_000_000_1] } }]
        });
        let comparison = compare(peer.clone(), &own).unwrap();
        assert!(comparison.figures > 4 && comparison.largest > 1e-10 && comparison.largest < 1e-9);
        for (place, wrong) in [
            ("/totals/rows", json!(4)),
            ("/found", json!(3)),
            ("/effects/0/columns/p/1", json!(0.501)),
            ("/effects/0/columns/p/0", json!(0.1)),
            ("/effects/0/columns/layer/0", json!(9)),
        ] {
            let mut peer = peer.clone();
            *peer.pointer_mut(place).unwrap() = wrong;
            assert!(compare(peer, &own).is_err(), "{place}");
        }
        assert!(compare(json!({ "nothing": 1 }), &own).is_err());
        assert!(compare(Value::Null, &own).is_err());
    }

    #[test]
    fn only_ties_for_the_last_place_may_differ() {
        let row = |word: &str, p: f64| json!({ "feature": 1, "word": word, "p": p });
        let own = json!({ "rows": [row("a", 0.1), row("b", 0.2)] });
        let tie = json!({ "rows": [row("a", 0.1), row("c", 0.2)] });
        assert_eq!(compare(tie, &own).unwrap().ties, 1);
        let other = json!({ "rows": [row("a", 0.1), row("c", 0.3)] });
        assert!(compare(other, &own).is_err());
    }
}
