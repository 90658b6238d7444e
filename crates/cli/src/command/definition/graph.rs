use crate::args::*;
use crate::command::*;
use crate::fault::*;
pub(super) async fn run(
    _: GraphArgs,
    _: GraphFormat,
    _: impl FnOnce() -> Result<Session, Fault>,
    _: &Output,
) -> Ended {
    Ok(Exit::Done)
}
