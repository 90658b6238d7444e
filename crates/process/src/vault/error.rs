//! Errors of the vault. No text of them contains a key or a value.

use goconductor_secrets::RandomnessError;

/// Error of the vault.
#[derive(Debug, Clone, thiserror::Error)]
pub enum VaultError {
    /// The master keys cannot be read from their source.
    #[error("the master keys cannot be read from {origin}: {reason}")]
    Source {
        /// The source.
        origin: String,
        /// The reason.
        reason: String,
    },
    /// The store has secrets, and the process has no master key.
    #[error(
        "secrets of the store are wrapped with the master key {key_id}, and secrets.master_key is not set: set it \
         to the source of this key"
    )]
    NoKey {
        /// The id of the key.
        key_id: String,
    },
    /// A key that is needed is not among the keys of the process.
    #[error(
        "secrets of the store are wrapped with the master key {key_id}, which is not in {origin}: it has {found}; \
         add the key on a line of its own"
    )]
    WrongKey {
        /// The id of the key.
        key_id: String,
        /// The source.
        origin: String,
        /// The ids of the keys that were found.
        found: String,
    },
    /// A stored value was changed, or belongs to another secret.
    #[error("the stored value of the secret {name} was changed, or belongs to another secret: set it again")]
    Corrupt {
        /// The name of the secret.
        name: String,
    },
    /// Other callers changed the same secret at the same time.
    #[error("the secret {name} is changed by others at the same time: repeat the request")]
    Contention {
        /// The name of the secret.
        name: String,
    },
    /// The operating system returned no random bytes.
    #[error(transparent)]
    Randomness(#[from] RandomnessError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] goconductor_store::Error),
}

impl VaultError {
    /// Returns whether the same call may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Store(error) => error.is_retryable(),
            Self::Contention { .. } => true,
            Self::Source { .. }
            | Self::NoKey { .. }
            | Self::WrongKey { .. }
            | Self::Corrupt { .. }
            | Self::Randomness(_) => false,
        }
    }

    /// Returns the code of the error, which has a page. `None` for errors of the store and of the operating system.
    #[must_use]
    pub fn code(&self) -> Option<&'static str> {
        match self {
            Self::Source { .. } => Some("GC2077"),
            Self::NoKey { .. } | Self::WrongKey { .. } => Some("GC2078"),
            Self::Corrupt { .. } => Some("GC2079"),
            Self::Contention { .. } => Some("GC2080"),
            Self::Randomness(_) | Self::Store(_) => None,
        }
    }

    /// Returns whether a restart cannot help without a change of the configuration.
    #[must_use]
    pub fn is_about_configuration(&self) -> bool {
        matches!(self, Self::Source { .. } | Self::NoKey { .. } | Self::WrongKey { .. })
    }
}
