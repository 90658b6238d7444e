//! Stores that wrap another store.
//!
//! A wrapper implements [`StoreLayer`] and the layer trait of each part of the port
//! ([`WorkflowLayer`](crate::WorkflowLayer), [`LockLayer`](crate::LockLayer), …). A layer trait has the methods of its
//! part. Each one forwards to [`StoreLayer::inner`] unless the wrapper overrides it. A wrapper that overrides nothing
//! in a part has an empty `impl`, and a method that is added to the port needs no change in any wrapper.

use crate::Store;

/// A store that forwards calls to another store.
pub trait StoreLayer: std::fmt::Debug + Send + Sync {
    /// Returns the store that the calls are forwarded to.
    fn inner(&self) -> &dyn Store;
}

/// Defines the layer trait of a part of the port, and implements the part for every type that implements it.
///
/// The macro repeats the signatures of the part. If one is missing, the blanket implementation does not compile.
macro_rules! layer {
    ($part:ident, $layer:ident {
        $(fn $method:ident($($argument:ident: $type:ty),*) -> $result:ty;)*
    }) => {
        #[doc = concat!("[`", stringify!($part), "`] by forwarding: each method calls the inner store by default.")]
        #[async_trait::async_trait]
        #[allow(missing_docs, clippy::missing_errors_doc, reason = "documented at the port")]
        pub trait $layer: $crate::StoreLayer {
            $(async fn $method(&self, $($argument: $type),*) -> Result<$result, $crate::Error> {
                self.inner().$method($($argument),*).await
            })*
        }

        #[async_trait::async_trait]
        impl<T: $layer> $part for T {
            $(async fn $method(&self, $($argument: $type),*) -> Result<$result, $crate::Error> {
                $layer::$method(self, $($argument),*).await
            })*
        }
    };
}

pub(crate) use layer;
