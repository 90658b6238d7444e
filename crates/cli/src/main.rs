//! The goconductor command; dev is the four services in one process
fn main() {}
