//! What a queue has to promise: the trait, the in-process queue and the conformance cases
