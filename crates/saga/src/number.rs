//! Decimal numbers, and whether a [`Json`](crate::Json) number represents one exactly.

use alloc::string::{String, ToString};

/// Returns whether a number is kept exactly: it is a 64-bit integer, or the shortest decimal form of its double
/// has the same value.
///
/// `1.50` and `100e-2` are kept, because `1.5` and `1` are equal to them. `0.1234567890123456789` and
/// `18446744073709551617` are not: every later reader would see another number.
///
/// The number has an optional sign, digits, an optional fraction and an optional exponent. Any other text is not kept.
#[must_use]
pub fn keeps_number(text: &str) -> bool {
    let is_integer = text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'+'));
    if is_integer && (text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok()) {
        return true;
    }
    if is_short(text) {
        return true;
    }
    let Some(written) = Decimal::parse(text) else { return false };
    let Some(double) = text.parse::<f64>().ok().filter(|double| double.is_finite()) else { return false };
    // If two shortest forms are equally near, formatters choose different ones. That of the JSON writer is sent on.
    let Some(kept) = serde_json::Number::from_f64(double) else { return false };
    Decimal::parse(&kept.to_string()) == Some(written)
}

/// Returns whether a number has at most 15 digits and no exponent. A double keeps up to 15 digits.
fn is_short(text: &str) -> bool {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let Some((whole, fraction)) = unsigned.split_once('.') else { return false };
    let are_digits = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    whole.len() + fraction.len() <= 15 && are_digits(whole) && are_digits(fraction)
}

/// A decimal number in its only form without superfluous zeros: `0.DIGITS × 10^exponent`.
#[derive(Debug, PartialEq, Eq)]
struct Decimal {
    is_negative: bool,
    /// Without zeros at the start and the end. Empty for zero.
    digits: String,
    exponent: i64,
}

impl Decimal {
    fn parse(text: &str) -> Option<Self> {
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let mut digits = String::with_capacity(mantissa.len());
        digits.push_str(whole);
        digits.push_str(fraction);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let significant = digits.trim_start_matches('0');
        let leading = digits.len() - significant.len();
        let point = i64::try_from(whole.len()).ok()?.checked_sub(i64::try_from(leading).ok()?)?;
        let digits = significant.trim_end_matches('0');
        if digits.is_empty() {
            // Zero has no sign here: `-0` is equal to `0`.
            return Some(Self { is_negative: false, digits: String::new(), exponent: 0 });
        }
        let exponent = exponent.parse::<i64>().ok()?.checked_add(point)?;
        Some(Self { is_negative: text.starts_with('-'), digits: digits.into(), exponent })
    }
}
