//! What an election has to promise: the trait, the election of a single machine and the conformance cases
