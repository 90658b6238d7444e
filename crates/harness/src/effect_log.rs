//! A participant's own log of its effects: one line of JSON for each request, in a file that outlives it.
//!
//! The line is written by one call, at the end of the file, before the participant answers. So `kill -9`
//! leaves it whole or leaves nothing: what is in the file happened, and what was answered is in the file.
//! Only the machine's own fall may cut the last line, which then never was.

use crate::check::{Effect, Fence, Took};
use anyhow::{Context, bail};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// One request, before it is on record.
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
    /// The lock that it came under.
    pub fence: Option<Fence>,
}

/// The log of one process of a participant. One process alone may write to it.
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
    /// Opens a process's log, `<process>.jsonl` in a folder, to go on where it ended; and what it holds, from
    /// which the participant knows what it did before it was killed.
    ///
    /// # Errors
    /// When the file can't be opened, or is no such log.
    pub fn open(folder: &Path, participant: &str, process: &str) -> anyhow::Result<(Self, Vec<Effect>)> {
        std::fs::create_dir_all(folder)?;
        let path = folder.join(format!("{process}.{SUFFIX}"));
        let mut file = File::options().read(true).append(true).create(true).open(&path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).with_context(|| path.display().to_string())?;
        let (effects, whole) = parse(&bytes, &path)?;
        // A line that was cut never was. It must not be the beginning of the next one.
        file.set_len(u64::try_from(whole)?)?;
        file.seek(SeekFrom::End(0))?;
        let last = effects.last();
        let (number, at) = last.map_or((0, 0), |effect| (effect.number, effect.at));
        let end = Mutex::new(End { file, number, at });
        Ok((Self { participant: participant.to_owned(), process: process.to_owned(), path, end }, effects))
    }

    /// Puts a request on record with what became of it. To be called when it has taken effect, and before
    /// it is answered; what decides the effect should hold its own lock meanwhile, so that the order of the
    /// lines is that of the effects.
    ///
    /// # Errors
    /// When it can't be written: then it must not be answered as done.
    pub fn append(&self, request: Request, effect: Option<Took>) -> anyhow::Result<Effect> {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        let Request { workflow, step, operation, key, attempt, fence } = request;
        let line = Effect {
            participant: self.participant.clone(),
            process: self.process.clone(),
            number: end.number.saturating_add(1),
            // A clock that is set back must not put the lines into another order.
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

    /// Reads one log. A last line that was cut is left out.
    ///
    /// # Errors
    /// When the file can't be read, or another line of it is no effect.
    pub fn read(path: &Path) -> anyhow::Result<Vec<Effect>> {
        let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
        Ok(parse(&bytes, path)?.0)
    }

    /// Reads every log of a folder.
    ///
    /// # Errors
    /// As [`EffectLog::read`].
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

/// The effects of a log, and how many of its bytes are whole lines.
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
            Err(error) => bail!("{}: line {number} is no effect: {error}", path.display()),
        }
        whole += line.len();
    }
    Ok((effects, whole))
}

/// Microseconds since 1970, as all processes of this machine have them.
pub(crate) fn wall_clock() -> i64 {
    #[allow(clippy::disallowed_methods, reason = "participants have a clock of their own, and no parameter")]
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
