//! The requests to Kinesis. None is retried here, because whether a request can be repeated depends on its purpose.

use super::lease::Checkpoint;
use super::record::Record;
use super::request_error::{RequestError, RequestErrorKind, count_throttled};
use crate::Error;
use crate::settings::kinesis::{AwsCredentials, Settings, StreamCapacity};
use crate::tls::certificates;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::timeout::TimeoutConfig;
use aws_sdk_kinesis::config::{SharedHttpClient, retry::RetryConfig};
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, ShardIteratorType, StreamMode, StreamModeDetails};
use aws_smithy_http_client::{Builder, tls};
use secrecy::ExposeSecret;
use std::fmt;
use std::time::Duration;
use tokio::sync::OnceCell;

/// Timeout of a request, and of its connection attempt.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A connection that was idle for this long is not reused, because the outcome of a request is unknown if the server
/// closes its connection. Servers close idle connections later.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// The maximum number of shards in one response.
const MAX_SHARDS: i32 = 1000;

/// The client of Kinesis.
pub(super) struct KinesisApi {
    settings: Settings,
    http: SharedHttpClient,
    /// Created by the first request, because the lookup of credentials may need requests of its own.
    client: OnceCell<Client>,
}

impl fmt::Debug for KinesisApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KinesisApi").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// A shard of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shard {
    /// The name and the first sequence number. In a stream that was deleted and created again, the same name stands for
    /// another shard, which begins at another sequence number.
    pub(super) key: String,
    /// The keys of the shards that were split or merged into this one, if they are still listed.
    pub(super) parents: Vec<String>,
}

/// Returns the name of a shard in Kinesis.
pub(super) fn shard_id(key: &str) -> &str {
    key.split_once('/').map_or(key, |(id, _)| id)
}

/// The position at which reading a shard begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ReadPosition {
    /// The oldest record that is retained.
    Horizon,
    /// The record with this sequence number.
    At(String),
    /// The record after this sequence number.
    After(String),
}

impl From<&Checkpoint> for ReadPosition {
    fn from(checkpoint: &Checkpoint) -> Self {
        match checkpoint {
            Checkpoint::Horizon | Checkpoint::End => Self::Horizon,
            Checkpoint::Within(sequence, _) => Self::At(sequence.clone()),
            Checkpoint::After(sequence) => Self::After(sequence.clone()),
        }
    }
}

/// The response to a read.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) records: Vec<ReadRecord>,
    /// The next iterator. `None` at the end of a closed shard.
    pub(super) next: Option<String>,
    /// The age of the next record in milliseconds. Zero if there is none yet.
    pub(super) behind_ms: u64,
}

/// A record that was read.
#[derive(Debug)]
pub(super) struct ReadRecord {
    pub(super) sequence: String,
    pub(super) partition_key: String,
    pub(super) data: Vec<u8>,
    pub(super) arrived_ms: i64,
}

impl KinesisApi {
    pub(super) fn new(settings: Settings) -> Result<Self, Error> {
        let http = http(&settings)?;
        Ok(Self { settings, http, client: OnceCell::new() })
    }

    async fn client(&self) -> &Client {
        self.client.get_or_init(|| self.connect()).await
    }

    async fn connect(&self) -> Client {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_timeout(REQUEST_TIMEOUT)
            .build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(self.settings.region.clone()))
            .http_client(self.http.clone())
            .timeout_config(timeouts)
            .retry_config(RetryConfig::disabled());
        if let Some(endpoint) = &self.settings.endpoint {
            loader = loader.endpoint_url(endpoint.expose_secret());
        }
        if let AwsCredentials::Keys { id, secret, token } = &self.settings.credentials {
            let token = token.as_ref().map(|token| token.expose_secret().to_owned());
            let secret = secret.expose_secret();
            let keys = aws_sdk_kinesis::config::Credentials::new(id, secret, token, None, "goconductor");
            loader = loader.credentials_provider(keys);
        }
        Client::new(&loader.load().await)
    }

    /// Returns the shards of a stream, without those whose records have all expired. The list is empty while the stream
    /// is being created.
    pub(super) async fn shards(&self, stream: &str) -> Result<Vec<Shard>, RequestError> {
        let client = self.client().await;
        let mut found = Vec::new();
        let mut next = None;
        loop {
            let request = client.list_shards().max_results(MAX_SHARDS);
            // A request with a token must not name the stream.
            let request = match next {
                Some(token) => request.next_token(token),
                None => request.stream_name(stream),
            };
            let page = request.send().await.map_err(|error| RequestError::of("ListShards", error))?;
            found.extend(page.shards.unwrap_or_default());
            next = page.next_token;
            if next.is_none() {
                return Ok(listed(&found));
            }
        }
    }

    /// Creates a stream.
    pub(super) async fn create(&self, stream: &str) -> Result<(), RequestError> {
        let request = self.client().await.create_stream().stream_name(stream);
        let request = match self.settings.capacity {
            StreamCapacity::Shards(count) => request.shard_count(i32::try_from(count).unwrap_or(i32::MAX)),
            StreamCapacity::OnDemand => {
                let mode = StreamModeDetails::builder().stream_mode(StreamMode::OnDemand).build();
                let mode = mode.map_err(|error| RequestError::not_built("CreateStream", error))?;
                request.stream_mode_details(mode)
            }
        };
        request.send().await.map(drop).map_err(|error| RequestError::of("CreateStream", error))
    }

    /// Writes records in one request. Returns the error of each record, or `None` if it was stored.
    pub(super) async fn put(
        &self,
        stream: &str,
        records: &[Record],
    ) -> Result<Vec<Option<RequestError>>, RequestError> {
        let mut entries = Vec::with_capacity(records.len());
        for record in records {
            let entry = PutRecordsRequestEntry::builder()
                .partition_key(&record.partition_key)
                .data(Blob::new(&*record.data))
                .build();
            entries.push(entry.map_err(|error| RequestError::not_built("PutRecords", error))?);
        }
        let request = self.client().await.put_records().stream_name(stream).set_records(Some(entries));
        let response = request.send().await.map_err(|error| RequestError::of("PutRecords", error))?;
        let results = response.records();
        if results.len() != records.len() {
            let text = format!("PutRecords returned {} results for {} records", results.len(), records.len());
            return Err(RequestError::new(RequestErrorKind::OutcomeUnknown, text));
        }
        let errors: Vec<_> =
            results.iter().map(|each| Some(record_error(each.error_code()?, each.error_message()))).collect();
        if errors.iter().flatten().any(|error| error.kind == RequestErrorKind::Throttled) {
            count_throttled("PutRecords");
        }
        Ok(errors)
    }

    /// Returns an iterator that begins at a position.
    pub(super) async fn iterator(
        &self,
        stream: &str,
        shard: &str,
        position: ReadPosition,
    ) -> Result<String, RequestError> {
        let request = self.client().await.get_shard_iterator().stream_name(stream).shard_id(shard_id(shard));
        let request = match position {
            ReadPosition::Horizon => request.shard_iterator_type(ShardIteratorType::TrimHorizon),
            ReadPosition::At(sequence) => request
                .shard_iterator_type(ShardIteratorType::AtSequenceNumber)
                .starting_sequence_number(sequence),
            ReadPosition::After(sequence) => request
                .shard_iterator_type(ShardIteratorType::AfterSequenceNumber)
                .starting_sequence_number(sequence),
        };
        let response = request.send().await.map_err(|error| RequestError::of("GetShardIterator", error))?;
        let missing =
            || RequestError::new(RequestErrorKind::Missing, "GetShardIterator returned no iterator");
        response.shard_iterator.ok_or_else(missing)
    }

    /// Reads at most `limit` records.
    pub(super) async fn read(&self, iterator: &str, limit: usize) -> Result<Page, RequestError> {
        let limit = i32::try_from(limit).unwrap_or(i32::MAX);
        let request = self.client().await.get_records().shard_iterator(iterator).limit(limit);
        let response = request.send().await.map_err(|error| RequestError::of("GetRecords", error))?;
        let behind_ms =
            response.millis_behind_latest.and_then(|behind| u64::try_from(behind).ok()).unwrap_or(0);
        let records = response.records.into_iter().map(|record| ReadRecord {
            arrived_ms: record.approximate_arrival_timestamp.and_then(|at| at.to_millis().ok()).unwrap_or(0),
            sequence: record.sequence_number,
            partition_key: record.partition_key.unwrap_or_default(),
            data: record.data.into_inner(),
        });
        Ok(Page { records: records.collect(), next: response.next_shard_iterator, behind_ms })
    }

    /// Checks that Kinesis responds. A throttled request is a response. If a stream is known to exist, its shards are
    /// listed, which needs fewer permissions than the list of all streams.
    pub(super) async fn check(&self, stream: Option<String>) -> Result<(), RequestError> {
        let client = self.client().await;
        let error = match stream {
            Some(stream) => {
                let request = client.list_shards().stream_name(stream).max_results(1);
                request.send().await.err().map(|error| RequestError::of("ListShards", error))
            }
            None => {
                let request = client.list_streams().limit(1);
                request.send().await.err().map(|error| RequestError::of("ListStreams", error))
            }
        };
        let Some(error) = error else { return Ok(()) };
        match error.kind {
            RequestErrorKind::Denied | RequestErrorKind::NotSent | RequestErrorKind::OutcomeUnknown => {
                Err(error)
            }
            RequestErrorKind::Throttled
            | RequestErrorKind::Missing
            | RequestErrorKind::InUse
            | RequestErrorKind::InvalidIterator => Ok(()),
        }
    }
}

/// Converts the error of one record of a request. After an internal failure, the record may have been stored.
fn record_error(code: &str, message: Option<&str>) -> RequestError {
    let text = format!("PutRecords refused a record with {code}: {}", message.unwrap_or("no message"));
    let kind = match code {
        "ProvisionedThroughputExceededException" | "KMSThrottlingException" => RequestErrorKind::Throttled,
        _ => RequestErrorKind::OutcomeUnknown,
    };
    RequestError::new(kind, text)
}

fn listed(found: &[aws_sdk_kinesis::types::Shard]) -> Vec<Shard> {
    let key = |shard: &aws_sdk_kinesis::types::Shard| {
        let range = shard.sequence_number_range();
        format!(
            "{}/{}",
            shard.shard_id(),
            range.map(|range| range.starting_sequence_number()).unwrap_or_default()
        )
    };
    let by_id = |id: &str| found.iter().find(|shard| shard.shard_id() == id).map(key);
    let shard = |shard: &aws_sdk_kinesis::types::Shard| {
        let parents = [shard.parent_shard_id(), shard.adjacent_parent_shard_id()];
        Shard { key: key(shard), parents: parents.into_iter().flatten().filter_map(by_id).collect() }
    };
    found.iter().map(shard).collect()
}

/// Returns the HTTP client, with TLS by rustls.
fn http(settings: &Settings) -> Result<SharedHttpClient, Error> {
    let mut trusted = tls::TrustStore::default();
    if let Some(file) = &settings.ca_file {
        let invalid = |reason: String| Error::configuration(format!("queue.kinesis.tls.ca_file: {reason}"));
        // Validated here, because the HTTP client panics on an invalid certificate.
        let mut roots = rustls::RootCertStore::empty();
        for certificate in certificates(file).map_err(invalid)? {
            let added = roots.add(certificate);
            added.map_err(|error| invalid(file.display().to_string()).with_source(error))?;
        }
        let text = std::fs::read(file);
        let text = text.map_err(|error| invalid(file.display().to_string()).with_source(error))?;
        trusted.add_pem_certificate(text);
    }
    let context = tls::TlsContext::builder().with_trust_store(trusted).build();
    let context = context.map_err(|error| Error::configuration(format!("TLS is not usable: {error}")))?;
    let provider = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc);
    Ok(Builder::new()
        .tls_provider(provider)
        .tls_context(context)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .build_https())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_record_has_the_code_and_the_message_of_kinesis() {
        let throttled = record_error("ProvisionedThroughputExceededException", Some("Rate exceeded"));
        assert_eq!(throttled.kind, RequestErrorKind::Throttled);
        assert_eq!(
            throttled.to_string(),
            "PutRecords refused a record with ProvisionedThroughputExceededException: Rate exceeded"
        );
        assert_eq!(record_error("InternalFailure", None).kind, RequestErrorKind::OutcomeUnknown);
    }

    #[test]
    fn file_without_valid_certificates_is_refused() {
        let file = std::env::temp_dir().join(format!("goconductor-no-ca-{}", std::process::id()));
        let settings = Settings { ca_file: Some(file.clone()), ..Settings::new("eu-central-1") };
        let missing = KinesisApi::new(settings.clone()).unwrap_err().to_string();
        assert!(
            missing.contains("queue.kinesis.tls.ca_file") && missing.contains("goconductor-no-ca"),
            "{missing}"
        );
        std::fs::write(&file, "no certificate").unwrap();
        let empty = KinesisApi::new(settings.clone()).unwrap_err().to_string();
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        std::fs::write(&file, broken).unwrap();
        let broken = KinesisApi::new(settings);
        std::fs::remove_file(&file).unwrap();
        assert!(empty.contains("no certificate in PEM form"), "{empty}");
        assert!(broken.is_err());
    }
}
