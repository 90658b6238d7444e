//! The metrics of this crate.

goconductor_telemetry::metrics! {
    counter WON("goconductor_elections_won_total", Count, ["election"], "Terms of leadership that this process won.");
    gauge IS_LEADER("goconductor_election_is_leader", Count, ["election"], "1 while this process leads the election, else 0.");
}
