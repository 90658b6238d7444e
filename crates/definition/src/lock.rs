//! The key `lock` of a step and of a definition.

use crate::fields::{At, FieldReader, Fields};
use crate::problem::{LIMIT, VALUE};
use crate::template::template;
use goconductor_saga::{LockScope, LockSpec};
use std::time::Duration;

/// Maximum locks of a definition.
const MAX_LOCKS: usize = 100;

/// A lock, as parsed. The templates of its key are read when the blocks are expanded.
#[derive(Debug, Clone)]
pub(crate) struct ParsedLock<'a> {
    pub(crate) at: At<'a>,
    pub(crate) key: At<'a>,
    shared: bool,
    wait: Option<Duration>,
    hold: LockScope,
}

impl ParsedLock<'_> {
    pub(crate) fn spec(&self, reader: &mut FieldReader) -> LockSpec {
        LockSpec { key: template(reader, &self.key), shared: self.shared, wait: self.wait, hold: self.hold }
    }
}

impl FieldReader {
    /// Reads the lock of a step: a key, or an object.
    pub(crate) fn lock<'a>(&mut self, at: &At<'a>) -> Option<ParsedLock<'a>> {
        let hold = self.hold(at);
        self.parsed_lock(at, hold.unwrap_or_default())
    }

    /// Reads the locks of a definition: a lock, or a list of locks.
    pub(crate) fn locks<'a>(&mut self, fields: &Fields<'a>) -> Vec<ParsedLock<'a>> {
        let Some(at) = fields.get("lock") else { return Vec::new() };
        let items = at.items().unwrap_or_else(|| vec![at.clone()]);
        if items.is_empty() {
            self.push(at.problem(VALUE, "the list of locks is empty: add a lock, or remove `lock`"));
        }
        if items.len() > MAX_LOCKS {
            let detail = format!("the definition has {} locks, and the limit is {MAX_LOCKS}", items.len());
            self.push(at.problem(LIMIT, detail));
            return Vec::new();
        }
        items.iter().filter_map(|item| self.lock_of_definition(item)).collect()
    }

    fn lock_of_definition<'a>(&mut self, at: &At<'a>) -> Option<ParsedLock<'a>> {
        if self.hold(at) == Some(LockScope::Step) {
            let problem = at.problem(VALUE, "the locks of a definition are held until the workflow ends");
            self.push(problem.hint("remove `hold`, or move the lock to a step"));
        }
        self.parsed_lock(at, LockScope::Workflow)
    }

    fn hold(&mut self, at: &At<'_>) -> Option<LockScope> {
        let hold = at.entries()?.into_iter().find(|(entry, _)| entry.key == "hold")?.1;
        self.choice(&hold, &[("step", LockScope::Step), ("workflow", LockScope::Workflow)])
    }

    fn parsed_lock<'a>(&mut self, at: &At<'a>, hold: LockScope) -> Option<ParsedLock<'a>> {
        if at.node.text().is_some() {
            let key = self.key(at)?;
            return Some(ParsedLock { at: at.clone(), key, shared: false, wait: None, hold });
        }
        let fields = self.fields(at, &["key", "mode", "wait", "hold"])?;
        let key = self.required(&fields, "key").and_then(|at| self.key(&at));
        let modes = [("exclusive", false), ("shared", true)];
        let shared = fields.get("mode").and_then(|at| self.choice(&at, &modes)).unwrap_or(false);
        let wait = fields.get("wait").and_then(|at| self.duration(&at));
        Some(ParsedLock { at: at.clone(), key: key?, shared, wait, hold })
    }

    fn key<'a>(&mut self, at: &At<'a>) -> Option<At<'a>> {
        let text = self.text(at)?;
        if text.contains("${") {
            return Some(at.clone());
        }
        if let Err(error) = goconductor_saga::LockKey::check(text) {
            self.push(at.problem(VALUE, error.to_string()));
            return None;
        }
        Some(at.clone())
    }
}
