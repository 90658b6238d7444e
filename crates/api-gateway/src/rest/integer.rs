//! Integers in JSON bodies. JSON Schema, and thus the OpenAPI document, does not distinguish `3.0` from `3`.

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use std::fmt;
use std::marker::PhantomData;

/// An unsigned integer, with or without a fraction of zero.
#[derive(Debug, Clone, Copy)]
pub(super) struct Integer<T>(pub(super) T);

impl<'de, T: TryFrom<u64>> Deserialize<'de> for Integer<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_u64(IntegerVisitor(PhantomData))
    }
}

struct IntegerVisitor<T>(PhantomData<T>);

impl<T: TryFrom<u64>> Visitor<'_> for IntegerVisitor<T> {
    type Value = Integer<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "an integer from 0 to {}", u64::MAX >> (u64::BITS as usize - 8 * size_of::<T>()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        T::try_from(value).map(Integer).map_err(|_| E::invalid_value(Unexpected::Unsigned(value), &self))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        let unsigned =
            u64::try_from(value).map_err(|_| E::invalid_value(Unexpected::Signed(value), &self))?;
        self.visit_u64(unsigned)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        let whole = if value.fract() == 0.0 { format!("{value:.0}").parse().ok() } else { None };
        match whole {
            Some(whole) => self.visit_u64(whole),
            None => Err(E::invalid_value(Unexpected::Float(value), &self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_numbers_within_the_range_are_read() {
        for (text, expected) in [
            ("0", Some(0)),
            ("3", Some(3)),
            ("3.0", Some(3)),
            ("4294967295", Some(u32::MAX)),
            ("4294967295.0", Some(u32::MAX)),
            ("4294967296", None),
            ("-1", None),
            ("-1.0", None),
            ("3.5", None),
            ("1e300", None),
            ("\"3\"", None),
            ("null", None),
            ("[3]", None),
        ] {
            let read: Option<Integer<u32>> = serde_json::from_str(text).ok();
            assert_eq!(read.map(|read| read.0), expected, "{text}");
        }
    }
}
