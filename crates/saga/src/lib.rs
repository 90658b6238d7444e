//! The words and the rules of a saga: graph, state, events, decide, evolve and owed
