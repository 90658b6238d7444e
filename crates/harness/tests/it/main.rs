//! Whole runs against a real `goconductor dev`, seen from outside only.

mod crash;
