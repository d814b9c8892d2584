//! Numbers as a reader wants them: fixed decimals, a real minus sign, no digits that mean nothing.

/// Written where a number is missing.
pub(crate) const MISSING: &str = "–";

/// A count with thin spaces between groups of three digits from 10 000 on.
pub(crate) fn count(value: u64) -> String {
    let digits = value.to_string();
    if digits.len() < 5 {
        return digits;
    }
    let mut text = String::with_capacity(digits.len() * 2);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// "1 feature", "2 features".
pub(crate) fn counted(value: usize, singular: &str, plural: &str) -> String {
    format!(
        "{} {}",
        count(value as u64),
        if value == 1 { singular } else { plural }
    )
}

/// A number with fixed decimals; numbers that would need more than eight digits before the point are written with an exponent.
pub(crate) fn decimal(value: f64, decimals: usize) -> String {
    if !value.is_finite() {
        return MISSING.to_owned();
    }
    if value.abs() >= 1e8 {
        return minus(&format!("{value:.2e}"));
    }
    let text = format!("{value:.decimals$}");
    // −0.00 says no more than 0.00.
    if text.starts_with('-') && !text.contains(|digit: char| digit.is_ascii_digit() && digit != '0') {
        return text[1..].to_owned();
    }
    minus(&text)
}

/// As [`decimal`], with a plus sign before positive numbers.
pub(crate) fn signed(value: f64, decimals: usize) -> String {
    let text = decimal(value, decimals);
    let zero = !text.contains(|digit: char| digit.is_ascii_digit() && digit != '0');
    if value > 0.0 && value.is_finite() && !zero {
        format!("+{text}")
    } else {
        text
    }
}

/// Three significant digits, for numbers of unknown size.
pub(crate) fn significant(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        MISSING.to_owned()
    } else if size == 0.0 {
        "0".to_owned()
    } else if !(1e-3..1e6).contains(&size) {
        minus(&format!("{value:.2e}"))
    } else if size >= 100.0 {
        decimal(value, 0)
    } else if size >= 10.0 {
        decimal(value, 1)
    } else if size >= 1.0 {
        decimal(value, 2)
    } else {
        decimal(value, 3)
    }
}

/// As [`significant`], whole numbers without decimals.
pub(crate) fn figure(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e6 {
        decimal(value, 0)
    } else {
        significant(value)
    }
}

/// As [`significant`], with a plus sign before positive numbers.
pub(crate) fn signed_significant(value: f64) -> String {
    if value > 0.0 && value.is_finite() {
        format!("+{}", significant(value))
    } else {
        significant(value)
    }
}

/// A share as percent.
pub(crate) fn percent(share: f64) -> String {
    format!("{}\u{202f}%", decimal(share * 100.0, 1))
}

/// A difference of shares as percentage points, signed, without the unit.
pub(crate) fn points(difference: f64) -> String {
    signed(difference * 100.0, 1)
}

/// An interval of shares as percentage points.
pub(crate) fn points_interval(low: f64, high: f64) -> String {
    format!("[{}, {}]", points(low), points(high))
}

/// A p or q value.
pub(crate) fn p_value(value: f64) -> String {
    if !value.is_finite() {
        MISSING.to_owned()
    } else if value >= 0.9995 {
        "1".to_owned()
    } else if value >= 0.001 {
        decimal(value, 3)
    } else if value <= 0.0 {
        "<1e\u{2212}300".to_owned()
    } else {
        minus(&format!("{value:.1e}"))
    }
}

/// "q = 0.012" or "q < 1e−300".
pub(crate) fn equation(name: &str, value: f64) -> String {
    let text = p_value(value);
    match text.strip_prefix('<') {
        Some(bound) => format!("{name} < {bound}"),
        None => format!("{name} = {text}"),
    }
}

/// A percentile of controls.
pub(crate) fn percentile(value: f64) -> String {
    decimal(value, if value > 99.0 && value < 100.0 { 1 } else { 0 })
}

/// Writes a missing number as a dash.
pub(crate) fn or_missing(value: Option<f64>, write: impl Fn(f64) -> String) -> String {
    value.map_or_else(|| MISSING.to_owned(), write)
}

fn minus(text: &str) -> String {
    text.replace('-', "\u{2212}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_sign_and_drop_what_means_nothing() {
        assert_eq!(count(9_999), "9999");
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(decimal(-0.001, 2), "0.00");
        assert_eq!(signed(0.0001, 1), "0.0");
        assert_eq!(signed(-2.5, 1), "\u{2212}2.5");
        assert_eq!(points(0.2149), "+21.5");
        assert_eq!(decimal(f64::NAN, 2), MISSING);
        assert_eq!(decimal(1e300, 2), "1.00e300");
        assert_eq!(significant(0.000_123), "1.23e\u{2212}4");
        assert_eq!(significant(12_345.6), "12346");
    }

    #[test]
    fn p_values_of_any_size_are_short() {
        for (value, text) in [
            (1.0, "1"),
            (0.049_96, "0.050"),
            (0.000_12, "1.2e\u{2212}4"),
            (1e-300, "1.0e\u{2212}300"),
            (0.0, "<1e\u{2212}300"),
        ] {
            assert_eq!(p_value(value), text);
        }
        assert_eq!(equation("q", 0.0), "q < 1e\u{2212}300");
    }
}
