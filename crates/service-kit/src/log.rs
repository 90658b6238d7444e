//! The log of the process, on standard error.
//!
//! A line that cannot be written is lost, and nothing else: lines go to a bounded buffer, and one thread writes the
//! buffer. A pipe that is full, closed or not read, and a file on a full disk, therefore neither block nor fail the
//! code that logs. Lost lines are counted.

use crate::metrics;
use parking_lot::{Condvar, Mutex};
use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

/// Size of the buffer. It holds several seconds of a busy log.
const CAPACITY: usize = 4 << 20;
/// Pause before a write to a non-blocking pipe that was full is repeated.
const RETRY_DELAY: Duration = Duration::from_millis(10);
/// Time for which [`flush`] waits by default: a pipe that is read is empty by then.
pub const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);

static STANDARD: LazyLock<Arc<LogBuffer>> = LazyLock::new(|| LogBuffer::start(io::stderr(), CAPACITY));

/// Writes a text for a person, and a line feed, in the order of the log lines.
pub fn print(text: &str) {
    STANDARD.push(format!("{text}\n").as_bytes());
}

/// Waits until all lines are written, for at most `timeout`. Call it before the process ends.
pub fn flush(timeout: Duration) {
    STANDARD.flush(timeout);
}

/// Makes each panic of this process an event of the log. By default it is written to standard error, which may block. Call
/// it in the main function of a server, after the log is installed.
pub fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let text = goconductor_supervisor::panic_message(panic.payload()).unwrap_or("no message");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
        let backtrace = std::backtrace::Backtrace::capture();
        let captured = backtrace.status() == std::backtrace::BacktraceStatus::Captured;
        let backtrace = captured.then(|| tracing::field::display(backtrace));
        tracing::error!(panic = text, place, thread, backtrace, "a thread panicked");
    }));
}

/// The writer of one event.
#[derive(Debug)]
pub(crate) struct LogWriter(Arc<LogBuffer>);

impl LogWriter {
    /// Returns a writer to standard error.
    pub(crate) fn standard() -> Self {
        Self(Arc::clone(&STANDARD))
    }
}

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lines that are not written yet.
#[derive(Debug)]
struct LogBuffer {
    state: Mutex<State>,
    /// Notified when there are lines to write.
    filled: Condvar,
    /// Notified when all lines are written.
    emptied: Condvar,
    capacity: usize,
}

#[derive(Debug, Default)]
struct State {
    pending: Vec<u8>,
    is_writing: bool,
    /// The lost lines that the log does not mention yet.
    lost: u64,
}

impl LogBuffer {
    /// Starts the thread that writes to `sink`. Without a thread, all lines are lost.
    fn start(sink: impl Write + Send + 'static, capacity: usize) -> Arc<Self> {
        let this = Arc::new(Self {
            state: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            capacity,
        });
        let writer = Arc::clone(&this);
        drop(std::thread::Builder::new().name("log".to_owned()).spawn(move || writer.write_all(sink)));
        this
    }

    /// Adds a line. It is lost if the buffer is full. Never waits for the sink.
    fn push(&self, line: &[u8]) {
        let mut state = self.state.lock();
        if state.pending.len() + line.len() > self.capacity {
            state.lost += 1;
            drop(state);
            metrics::LOG_LINES_LOST.increment(1);
            return;
        }
        state.pending.extend_from_slice(line);
        drop(state);
        self.filled.notify_one();
    }

    fn flush(&self, timeout: Duration) {
        let until = Instant::now() + timeout;
        let mut state = self.state.lock();
        while !state.pending.is_empty() || state.is_writing {
            if self.emptied.wait_until(&mut state, until).timed_out() {
                return;
            }
        }
    }

    /// Writes lines to `sink` until the process ends.
    fn write_all(&self, mut sink: impl Write) {
        let (mut lines, mut is_within_line) = (Vec::new(), false);
        loop {
            self.next(&mut lines);
            let unwritten = write_lines(&mut sink, &lines, &mut is_within_line);
            lines.clear();
            lines.shrink_to(self.capacity / 16);
            let lost = {
                let mut state = self.state.lock();
                state.lost += unwritten;
                // While nothing can be written, a line about it would be lost as well.
                if unwritten == 0 { std::mem::take(&mut state.lost) } else { 0 }
            };
            if unwritten > 0 {
                metrics::LOG_LINES_LOST.increment(unwritten);
            }
            if lost > 0 {
                tracing::warn!(
                    lines = lost,
                    "log lines were lost, because they could not be written in time"
                );
            }
        }
    }

    /// Waits for lines and moves them to `lines`, which must be empty.
    fn next(&self, lines: &mut Vec<u8>) {
        let mut state = self.state.lock();
        state.is_writing = false;
        while state.pending.is_empty() {
            self.emptied.notify_all();
            self.filled.wait(&mut state);
        }
        state.is_writing = true;
        std::mem::swap(&mut state.pending, lines);
    }
}

/// Writes lines and returns the number of those that were not written completely. `is_within_line` states whether the
/// last line of the sink is incomplete.
fn write_lines(sink: &mut impl Write, mut lines: &[u8], is_within_line: &mut bool) -> u64 {
    if *is_within_line {
        // The rest of the line was lost. The next line must not continue it.
        *is_within_line = !matches!(sink.write(b"\n"), Ok(1));
    }
    while !lines.is_empty() {
        match sink.write(lines) {
            Ok(0) => break,
            Ok(count) => {
                let (written, rest) = lines.split_at(count.min(lines.len()));
                *is_within_line = written.last() != Some(&b'\n');
                lines = rest;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(RETRY_DELAY),
            Err(_) => break,
        }
    }
    let ends = lines.iter().filter(|byte| **byte == b'\n').count();
    u64::try_from(ends).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// A sink that takes what the test allows: each write waits for the number of bytes that it may take, or an error.
    struct ControlledSink {
        results: Receiver<io::Result<usize>>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for ControlledSink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = self.results.recv().map_err(io::Error::other)??.min(bytes.len());
            self.written.lock().extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    type Allow = Sender<io::Result<usize>>;

    fn controlled(capacity: usize) -> (Arc<LogBuffer>, Allow, Arc<Mutex<Vec<u8>>>) {
        let (allow, results) = channel();
        let written = Arc::new(Mutex::new(Vec::new()));
        let sink = ControlledSink { results, written: Arc::clone(&written) };
        (LogBuffer::start(sink, capacity), allow, written)
    }

    fn text(written: &Mutex<Vec<u8>>) -> String {
        String::from_utf8(written.lock().clone()).unwrap()
    }

    #[test]
    fn sink_that_blocks_loses_the_lines_over_the_capacity() {
        let (buffer, allow, written) = controlled(8);
        buffer.push(b"one\n");
        while !buffer.state.lock().is_writing {
            std::thread::yield_now();
        }
        // The sink is blocked in the write of the first line. The buffer takes two more, and no caller waits.
        for line in [b"two\n", b"thr\n", b"fou\n", b"fiv\n"] {
            buffer.push(line);
        }
        assert_eq!(buffer.state.lock().lost, 2);
        buffer.flush(Duration::from_millis(1));
        assert_eq!(text(&written), "", "a flush gives up at its timeout");
        for _ in 0..2 {
            allow.send(Ok(usize::MAX)).unwrap();
        }
        buffer.flush(Duration::from_secs(10));
        assert_eq!(text(&written), "one\ntwo\nthr\n");
        assert_eq!(buffer.state.lock().lost, 0, "the log mentions the lost lines");
    }

    #[test]
    fn write_that_fails_loses_its_lines_and_nothing_else() {
        let (buffer, allow, written) = controlled(64);
        allow.send(Ok(2)).unwrap();
        allow.send(Err(ErrorKind::StorageFull.into())).unwrap();
        buffer.push(b"first\nsecond\n");
        buffer.flush(Duration::from_secs(10));
        assert_eq!((text(&written).as_str(), buffer.state.lock().lost), ("fi", 2));
        for result in [Ok(1), Err(ErrorKind::Interrupted.into()), Err(ErrorKind::WouldBlock.into()), Ok(64)] {
            allow.send(result).unwrap();
        }
        buffer.push(b"third\n");
        buffer.flush(Duration::from_secs(10));
        assert_eq!(text(&written), "fi\nthird\n", "a line does not continue one that was cut");
    }
}
