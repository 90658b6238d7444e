pub(crate) async fn run(_: crate::args::DevArgs) -> anyhow::Result<()> { Ok(()) }
pub(crate) const DATABASE: &str = "goconductor.db";
