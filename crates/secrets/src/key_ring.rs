//! The master keys of a process: the current one, and earlier ones.

use crate::master_key::{KeyId, KeyTextError, MasterKey};

/// Maximum keys of a ring. A rotation needs two.
const MAX_KEYS: usize = 16;

/// The master keys of a process. The first one seals new values. The others only open earlier ones.
#[derive(Debug, Clone)]
pub struct KeyRing {
    current: MasterKey,
    earlier: Vec<MasterKey>,
}

/// A text that does not contain keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyRingError {
    /// The text has no key.
    #[error("it contains no key: create one with `goconductor secret generate-key`")]
    Empty,
    /// A line is not a key.
    #[error("line {line}: {error}")]
    Key {
        /// The line, from 1.
        line: usize,
        /// The error of the line.
        error: KeyTextError,
    },
    /// A key occurs twice.
    #[error("line {line}: the key {id} occurs twice: remove one of the lines")]
    Duplicate {
        /// The line of the second occurrence, from 1.
        line: usize,
        /// The id of the key.
        id: KeyId,
    },
    /// There are too many keys.
    #[error("it contains more than {MAX_KEYS} keys: remove keys that no secret is wrapped with")]
    TooMany,
}

impl KeyRing {
    /// Parses keys, one on each line. The first one is the current one. Empty lines, and lines that start with `#`, are
    /// ignored.
    ///
    /// # Errors
    /// Returns [`KeyRingError`] if the text has no key, or a line that is not a key. The error does not contain the text.
    pub fn parse(text: &str) -> Result<Self, KeyRingError> {
        let mut keys: Vec<MasterKey> = Vec::new();
        for (line, text) in (1..).zip(text.lines()) {
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let key = MasterKey::parse(text).map_err(|error| KeyRingError::Key { line, error })?;
            if keys.iter().any(|known| known.id() == key.id()) {
                return Err(KeyRingError::Duplicate { line, id: key.id() });
            }
            keys.push(key);
        }
        if keys.len() > MAX_KEYS {
            return Err(KeyRingError::TooMany);
        }
        let mut keys = keys.into_iter();
        let current = keys.next().ok_or(KeyRingError::Empty)?;
        Ok(Self { current, earlier: keys.collect() })
    }

    pub(crate) fn with_only(current: MasterKey) -> Self {
        Self { current, earlier: Vec::new() }
    }

    /// Returns the key that seals new values.
    #[must_use]
    pub fn current(&self) -> &MasterKey {
        &self.current
    }

    /// Returns the key with an id.
    #[must_use]
    pub fn get(&self, id: KeyId) -> Option<&MasterKey> {
        std::iter::once(&self.current).chain(&self.earlier).find(|key| key.id() == id)
    }

    /// Returns the same keys with another current one. Returns `None` if the ring does not contain it.
    #[must_use]
    pub fn with_current(&self, id: &str) -> Option<Self> {
        let id: KeyId = id.parse().ok()?;
        let current = self.get(id)?.clone();
        let others = std::iter::once(&self.current).chain(&self.earlier).filter(|key| key.id() != id);
        Some(Self { current, earlier: others.cloned().collect() })
    }

    /// Returns the ids of all keys. The first one is that of the current key.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> {
        std::iter::once(&self.current).chain(&self.earlier).map(MasterKey::id)
    }
}
