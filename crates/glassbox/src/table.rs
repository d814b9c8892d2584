//! Tables that fit a terminal.

/// Lays out rows under headings, columns two spaces apart; numbers (as their text shows) are aligned on the right.
pub fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = headings.iter().map(|heading| heading.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let numeric: Vec<bool> = (0..headings.len())
        .map(|column| {
            rows.iter()
                .all(|row| row.get(column).is_none_or(|cell| is_number(cell)))
        })
        .collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for ((cell, width), numeric) in cells.zip(&widths).zip(&numeric) {
            let padding = " ".repeat(width.saturating_sub(cell.chars().count()));
            if !text.is_empty() {
                text.push_str("  ");
            }
            if *numeric {
                text.push_str(&padding);
                text.push_str(cell);
            } else {
                text.push_str(cell);
                text.push_str(&padding);
            }
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
        text
    };
    let mut text = line(&mut headings.iter().copied());
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

/// Lays out facts, one a line, their names in a column of their own.
pub fn facts(facts: &[(&str, String)]) -> String {
    let width = facts
        .iter()
        .map(|(name, _)| name.chars().count())
        .max()
        .unwrap_or(0);
    let line = |(name, fact): &(&str, String)| {
        let padding = " ".repeat(width - name.chars().count());
        format!(
            "{name}{padding}  {}\n",
            fact.replace('\n', &format!("\n{}", " ".repeat(width + 2)))
        )
    };
    facts.iter().map(line).collect()
}

/// Cuts a text to a width, the last character an ellipsis where something is missing. Line breaks are shown as `⏎`.
pub fn cut(text: &str, width: usize) -> String {
    let text = text.replace('\n', "⏎");
    if text.chars().count() <= width {
        return text;
    }
    let mut cut: String = text.chars().take(width.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// A whole number with its thousands apart: 1 234 567.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

fn is_number(cell: &str) -> bool {
    cell.chars().all(|c| c.is_ascii_digit() || "+-.,%e –".contains(c))
}

/// Bytes as people write them.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{count} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// Seconds as people write them.
pub fn duration(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{seconds:.0} s");
    }
    let minutes = (seconds / 60.0).round() as u64;
    if minutes < 60 {
        return format!("{minutes} min");
    }
    format!("{} h {} min", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_right_and_text_left() {
        let text = table(
            &["name", "count"],
            &[vec!["a".into(), "5".into()], vec!["long".into(), "12345".into()]],
        );
        assert_eq!(text, "name  count\na         5\nlong  12345\n");
    }

    #[test]
    fn facts_have_their_names_in_a_column() {
        let text = facts(&[("site", "a".into()), ("features", "b\nc".into())]);
        assert_eq!(text, "site      a\nfeatures  b\n          c\n");
    }

    #[test]
    fn long_texts_are_cut_and_counts_are_grouped() {
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("ab\nd", 4), "ab⏎d");
        assert_eq!(
            [count(0), count(999), count(1000), count(1_234_567)],
            ["0", "999", "1 000", "1 234 567"]
        );
    }

    #[test]
    fn bytes_and_durations_are_readable() {
        assert_eq!(bytes(900), "900 B");
        assert_eq!(bytes(3 << 20), "3.0 MiB");
        assert_eq!(duration(75.0), "1 min");
        assert_eq!(duration(3600.0 * 5.0), "5 h 0 min");
    }
}
