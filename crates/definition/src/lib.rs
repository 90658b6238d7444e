//! YAML or JSON text to a checked graph, with every problem and its place; CEL behind saga's trait
