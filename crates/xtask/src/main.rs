//! Checks of the code base
fn main() {}
