//! Envelope encryption of secrets and payloads.
//!
//! A value is sealed with a random data key of its own, by XChaCha20-Poly1305. The data key is sealed with the master key.
//! A change of the master key therefore seals the data keys again, and leaves the values as they are. The associated data
//! of both contains the [`Binding`] of the value: a sealed value that is moved to another namespace, name or version
//! cannot be opened. The associated data of the data key also contains the id of the master key.
//!
//! [`MasterKey`] and [`KeyRing`] are the master keys, [`seal`], [`open`] and [`rewrap`] the operations on secrets. A
//! [`PayloadKey`] seals texts of workflows. [`KeyRing::seal_token`] seals tokens, such as those of sessions.
//!
//! The crate deliberately knows no store, no configuration and no clock. Randomness is a parameter, of type
//! [`Randomness`].
//!
//! Invariants:
//!
//! - A key or an opened value is never printed, and its memory is overwritten when it is dropped.
//! - A sealed value of which one bit was changed cannot be opened.
//! - A nonce is random and 24 bytes long, so that random nonces of one key do not repeat.

mod cipher;
mod envelope;
mod key_ring;
mod master_key;
mod payload;
mod randomness;
mod token;

pub use envelope::{Binding, OpenError, SealedValue, WrappedKey, open, rewrap, seal};
pub use key_ring::{KeyRing, KeyRingError};
pub use master_key::{KeyId, KeyIdError, KeyTextError, MasterKey};
pub use payload::{PayloadError, PayloadKey, is_sealed, payload_key_version};
pub use randomness::{KEY_BYTES, Randomness, RandomnessError};
