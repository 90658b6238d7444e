//! A participant's log of its effects: a file with one line of JSON for each request, which outlives the process.
//!
//! The participant appends the line with one call before it answers. SIGKILL therefore leaves either the whole line or
//! nothing: every line describes an effect that happened, and every answered request has a line. Only a crash of the
//! machine can cut the last line, which is then ignored.

use crate::check::{Effect, EffectKind, Fence};
use anyhow::{Context, bail};
use parking_lot::Mutex;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A request before it is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GoConductor-Workflow-Id`
    pub workflow: String,
    /// `GoConductor-Step`
    pub step: String,
    /// `GoConductor-Operation`
    pub operation: String,
    /// `Idempotency-Key`
    pub key: String,
    /// `GoConductor-Attempt`
    pub attempt: u32,
    /// The lock under which it is handled.
    pub fence: Option<Fence>,
}

/// The log of one process of a participant. Only one process may write to it.
#[derive(Debug)]
pub struct EffectLog {
    participant: String,
    process: String,
    path: PathBuf,
    end: Mutex<End>,
}

#[derive(Debug)]
struct End {
    file: File,
    number: u64,
    at: i64,
}

impl EffectLog {
    /// Opens the log `<process>.jsonl` in a folder and returns its effects. The participant derives its state from them
    /// after a restart.
    ///
    /// # Errors
    /// Returns an error if the file cannot be opened or is not an effect log.
    pub fn open(folder: &Path, participant: &str, process: &str) -> anyhow::Result<(Self, Vec<Effect>)> {
        std::fs::create_dir_all(folder)?;
        let path = folder.join(format!("{process}.{SUFFIX}"));
        let mut file = File::options().read(true).append(true).create(true).open(&path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).with_context(|| path.display().to_string())?;
        let (effects, whole) = parse(&bytes, &path)?;
        // Remove a line that was cut, so that the next line does not continue it.
        file.set_len(u64::try_from(whole)?)?;
        file.seek(SeekFrom::End(0))?;
        let last = effects.last();
        let (number, at) = last.map_or((0, 0), |effect| (effect.number, effect.at));
        let end = Mutex::new(End { file, number, at });
        Ok((Self { participant: participant.to_owned(), process: process.to_owned(), path, end }, effects))
    }

    /// Records a request with its effect. Call it after the effect and before the response. The caller must hold the lock
    /// that orders the effects, so that the lines have the same order.
    ///
    /// # Errors
    /// Returns an error if the line cannot be written. The request must then not be answered as done.
    pub fn append(&self, request: Request, effect: Option<EffectKind>) -> anyhow::Result<Effect> {
        let mut end = self.end.lock();
        let Request { workflow, step, operation, key, attempt, fence } = request;
        let line = Effect {
            participant: self.participant.clone(),
            process: self.process.clone(),
            number: end.number.saturating_add(1),
            // Keep the order of the lines if the clock is set back.
            at: wall_clock().max(end.at),
            workflow,
            step,
            operation,
            key,
            attempt,
            effect,
            fence,
            answered: None,
        };
        let mut text = serde_json::to_string(&line)?;
        text.push('\n');
        end.file.write_all(text.as_bytes()).with_context(|| self.path.display().to_string())?;
        (end.number, end.at) = (line.number, line.at);
        Ok(line)
    }

    /// Reads one log. A cut last line is ignored.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read or another line is not an effect.
    pub fn read(path: &Path) -> anyhow::Result<Vec<Effect>> {
        let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
        Ok(parse(&bytes, path)?.0)
    }

    /// Reads every log of a folder.
    ///
    /// # Errors
    /// The errors of [`EffectLog::read`].
    pub fn read_all(folder: &Path) -> anyhow::Result<Vec<Effect>> {
        let mut all = Vec::new();
        for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.extension().is_some_and(|suffix| suffix == SUFFIX) {
                all.extend(Self::read(&path)?);
            }
        }
        Ok(all)
    }
}

const SUFFIX: &str = "jsonl";

/// Returns the effects of a log and the number of bytes in whole lines.
fn parse(bytes: &[u8], path: &Path) -> anyhow::Result<(Vec<Effect>, usize)> {
    let mut effects = Vec::new();
    let mut whole = 0;
    for (line, number) in bytes.split_inclusive(|byte| *byte == b'\n').zip(1..) {
        let number: u64 = number;
        if !line.ends_with(b"\n") {
            break;
        }
        match serde_json::from_slice::<Effect>(line) {
            Ok(effect) => effects.push(effect),
            Err(error) => bail!("{}: line {number} is not an effect: {error}", path.display()),
        }
        whole += line.len();
    }
    Ok((effects, whole))
}

/// The wall-clock time of this machine, in microseconds since 1970.
pub(crate) fn wall_clock() -> i64 {
    #[allow(clippy::disallowed_methods, reason = "participants have their own clock")]
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
