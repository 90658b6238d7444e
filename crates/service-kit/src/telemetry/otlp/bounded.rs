//! Bounded queues for spans and log records, which count what is lost.

use crate::metrics;
use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_otlp::{LogExporter, SpanExporter};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{
    BatchConfigBuilder as LogBatchConfig, BatchLogProcessor, LogBatch, LogProcessor, SdkLogRecord,
};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder as SpanBatchConfig, BatchSpanProcessor, Span, SpanData, SpanProcessor,
};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Maximum number of spans, and of log records, that are not sent yet: a few seconds of full load.
const CAPACITY: usize = 16_384;
/// Maximum number in one request.
const BATCH: usize = 1024;
/// Interval between two requests.
const INTERVAL: Duration = Duration::from_secs(1);
/// Minimum interval between two warnings about a signal.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

/// The items of a signal that are not sent yet.
#[derive(Debug)]
pub(super) struct Unsent {
    signal: &'static str,
    waiting: AtomicUsize,
    /// The lost items that the log does not mention yet.
    lost: AtomicU64,
    warned: Mutex<Option<Instant>>,
}

impl Unsent {
    pub(super) fn new(signal: &'static str) -> Arc<Self> {
        let (waiting, lost, warned) = (AtomicUsize::new(0), AtomicU64::new(0), Mutex::new(None));
        Arc::new(Self { signal, waiting, lost, warned })
    }

    /// Adds an item. Returns `false` if the queue is full: the item is lost.
    fn add(&self) -> bool {
        if self.waiting.fetch_add(1, Ordering::AcqRel) < CAPACITY {
            return true;
        }
        self.waiting.fetch_sub(1, Ordering::AcqRel);
        // The warning follows the next request. A warning here would come from within the code that is traced.
        self.lose("queue_full", 1);
        false
    }

    /// Removes the items of a request.
    fn sent(&self, items: usize, result: &OTelSdkResult) {
        self.waiting.fetch_sub(items, Ordering::AcqRel);
        let error = match result {
            Ok(()) => "the queue is full".to_owned(),
            Err(error) => {
                self.lose("export_failed", items);
                error.to_string()
            }
        };
        if self.lost.load(Ordering::Acquire) > 0 && self.may_warn() {
            let lost = self.lost.swap(0, Ordering::AcqRel);
            tracing::warn!(signal = self.signal, lost, error, "telemetry was not exported");
        }
    }

    fn lose(&self, reason: &'static str, items: usize) {
        let items = u64::try_from(items).unwrap_or(u64::MAX);
        self.lost.fetch_add(items, Ordering::AcqRel);
        metrics::TELEMETRY_LOST.with([self.signal.into(), reason.into()]).increment(items);
    }

    fn may_warn(&self) -> bool {
        let mut warned = self.warned.lock();
        let now = Instant::now();
        if warned.is_some_and(|at| now.saturating_duration_since(at) < WARN_INTERVAL) {
            return false;
        }
        *warned = Some(now);
        true
    }
}

/// The queue of spans.
#[derive(Debug)]
pub(super) struct BoundedSpans {
    batches: BatchSpanProcessor,
    unsent: Arc<Unsent>,
}

impl BoundedSpans {
    pub(super) fn new(exporter: CountedSpans, unsent: Arc<Unsent>) -> Self {
        let config = SpanBatchConfig::default()
            .with_max_queue_size(CAPACITY)
            .with_max_export_batch_size(BATCH)
            .with_scheduled_delay(INTERVAL);
        let batches = BatchSpanProcessor::builder(exporter).with_batch_config(config.build()).build();
        Self { batches, unsent }
    }
}

impl SpanProcessor for BoundedSpans {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.batches.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.unsent.add() {
            self.batches.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.batches.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.batches.set_resource(resource);
    }
}

/// The exporter of spans.
#[derive(Debug)]
pub(super) struct CountedSpans {
    exporter: SpanExporter,
    unsent: Arc<Unsent>,
}

impl CountedSpans {
    pub(super) fn new(exporter: SpanExporter, unsent: Arc<Unsent>) -> Self {
        Self { exporter, unsent }
    }
}

impl opentelemetry_sdk::trace::SpanExporter for CountedSpans {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let items = batch.len();
        let result = self.exporter.export(batch).await;
        self.unsent.sent(items, &result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// The queue of log records.
#[derive(Debug)]
pub(super) struct BoundedLogs {
    batches: BatchLogProcessor,
    unsent: Arc<Unsent>,
}

impl BoundedLogs {
    pub(super) fn new(exporter: CountedLogs, unsent: Arc<Unsent>) -> Self {
        let config = LogBatchConfig::default()
            .with_max_queue_size(CAPACITY)
            .with_max_export_batch_size(BATCH)
            .with_scheduled_delay(INTERVAL);
        let batches = BatchLogProcessor::builder(exporter).with_batch_config(config.build()).build();
        Self { batches, unsent }
    }
}

impl LogProcessor for BoundedLogs {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        if self.unsent.add() {
            self.batches.emit(record, scope);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.batches.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.batches.set_resource(resource);
    }
}

/// The exporter of log records.
#[derive(Debug)]
pub(super) struct CountedLogs {
    exporter: LogExporter,
    unsent: Arc<Unsent>,
}

impl CountedLogs {
    pub(super) fn new(exporter: LogExporter, unsent: Arc<Unsent>) -> Self {
        Self { exporter, unsent }
    }
}

impl opentelemetry_sdk::logs::LogExporter for CountedLogs {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let items = batch.iter().count();
        let result = self.exporter.export(batch).await;
        self.unsent.sent(items, &result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_sdk::error::OTelSdkError;

    #[test]
    fn full_queue_loses_items_until_some_are_sent() {
        let unsent = Unsent::new("traces");
        for _ in 0..CAPACITY {
            assert!(unsent.add());
        }
        assert!(!unsent.add() && !unsent.add());
        assert_eq!(unsent.lost.load(Ordering::Acquire), 2);
        unsent.sent(3, &Ok(()));
        assert_eq!(unsent.lost.load(Ordering::Acquire), 0, "the log mentions the lost items");
        for _ in 0..3 {
            assert!(unsent.add());
        }
        assert!(!unsent.add());
    }

    #[test]
    fn items_of_a_failed_request_are_lost_and_warned_about_once_per_interval() {
        let unsent = Unsent::new("logs");
        for _ in 0..5 {
            assert!(unsent.add());
        }
        let failed = Err(OTelSdkError::InternalFailure("refused".to_owned()));
        unsent.sent(3, &failed);
        assert_eq!(unsent.lost.load(Ordering::Acquire), 0, "the first failure is logged at once");
        unsent.sent(2, &failed);
        assert_eq!(unsent.lost.load(Ordering::Acquire), 2, "the next one waits for its interval");
        assert_eq!(unsent.waiting.load(Ordering::Acquire), 0);
    }
}
