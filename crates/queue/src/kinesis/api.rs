//! The calls that are made to Kinesis, in words of ours. None is repeated here: whether it may be depends on
//! what it was for.

use super::fault::{self, Fault, Kind};
use super::lease::Checkpoint;
use super::record::Record;
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

/// A call that is not answered in this time has failed.
const ANSWER: Duration = Duration::from_secs(5);
const CONNECT: Duration = Duration::from_secs(3);
/// What is sent over a connection that is being closed is in doubt, so that one that was idle for this long is not
/// used again. Servers wait longer before they close one.
const IDLE: Duration = Duration::from_secs(4);
/// Shards that one answer names, at most.
const SHARDS: i32 = 1000;

/// Kinesis, as this process asks it.
pub(super) struct Api {
    settings: Settings,
    http: SharedHttpClient,
    /// Made at the first call: who asks has to be found out, and may have to be asked for.
    client: OnceCell<Client>,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// A shard, as a stream lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shard {
    /// Its name, and where it begins: in a stream that was removed and made again a name means another
    /// shard, which begins elsewhere.
    pub(super) key: String,
    /// Those from which it came, by their keys, as far as they are still listed.
    pub(super) parents: Vec<String>,
}

/// The name of a shard in Kinesis.
pub(super) fn id_of(key: &str) -> &str {
    key.split_once('/').map_or(key, |(id, _)| id)
}

/// Where reading a shard begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Start {
    /// With the oldest that is kept.
    Horizon,
    /// With this one.
    At(String),
    /// With what stands behind it.
    After(String),
}

impl From<&Checkpoint> for Start {
    fn from(checkpoint: &Checkpoint) -> Self {
        match checkpoint {
            Checkpoint::Horizon | Checkpoint::End => Self::Horizon,
            Checkpoint::Within(sequence, _) => Self::At(sequence.clone()),
            Checkpoint::After(sequence) => Self::After(sequence.clone()),
        }
    }
}

/// What was read.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) records: Vec<Came>,
    /// Where to go on; none: the shard has been closed, and this is its end.
    pub(super) next: Option<String>,
    /// How old what comes next is, in milliseconds; zero: there is nothing yet.
    pub(super) behind_ms: u64,
}

/// A record that was read.
#[derive(Debug)]
pub(super) struct Came {
    pub(super) sequence: String,
    pub(super) partition_key: String,
    pub(super) data: Vec<u8>,
    pub(super) arrived_ms: i64,
}

impl Api {
    pub(super) fn new(settings: Settings) -> Result<Self, Error> {
        let http = http(&settings)?;
        Ok(Self { settings, http, client: OnceCell::new() })
    }

    async fn client(&self) -> &Client {
        self.client.get_or_init(|| self.connect()).await
    }

    async fn connect(&self) -> Client {
        let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT).operation_timeout(ANSWER).build();
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

    /// All shards of a stream that still hold something or may come to; none while it is being made.
    pub(super) async fn shards(&self, stream: &str) -> Result<Vec<Shard>, Fault> {
        let client = self.client().await;
        let mut found = Vec::new();
        let mut next = None;
        loop {
            let asked = client.list_shards().max_results(SHARDS);
            // What goes on is named by the token alone.
            let asked = match next {
                Some(token) => asked.next_token(token),
                None => asked.stream_name(stream),
            };
            let page = asked.send().await.map_err(|error| Fault::of("ListShards", &error))?;
            found.extend(page.shards.unwrap_or_default());
            next = page.next_token;
            if next.is_none() {
                return Ok(listed(&found));
            }
        }
    }

    /// Makes a stream.
    pub(super) async fn create(&self, stream: &str) -> Result<(), Fault> {
        let asked = self.client().await.create_stream().stream_name(stream);
        let asked = match self.settings.capacity {
            StreamCapacity::Shards(count) => asked.shard_count(i32::try_from(count).unwrap_or(i32::MAX)),
            StreamCapacity::OnDemand => {
                let mode = StreamModeDetails::builder().stream_mode(StreamMode::OnDemand).build();
                asked.stream_mode_details(mode.map_err(|error| Fault::new(Kind::NotSent, error.to_string()))?)
            }
        };
        asked.send().await.map(drop).map_err(|error| Fault::of("CreateStream", &error))
    }

    /// Sends a request of records; of each why it was not taken in, if it was not.
    pub(super) async fn put(&self, stream: &str, records: &[Record]) -> Result<Vec<Option<Fault>>, Fault> {
        let mut entries = Vec::with_capacity(records.len());
        for record in records {
            let entry = PutRecordsRequestEntry::builder()
                .partition_key(&record.partition_key)
                .data(Blob::new(&*record.data))
                .build();
            entries.push(entry.map_err(|error| Fault::new(Kind::NotSent, error.to_string()))?);
        }
        let asked = self.client().await.put_records().stream_name(stream).set_records(Some(entries));
        let answer = asked.send().await.map_err(|error| Fault::of("PutRecords", &error))?;
        let taken = answer.records();
        if taken.len() != records.len() {
            let said = format!("PutRecords: {} answers to {} records", taken.len(), records.len());
            return Err(Fault::new(Kind::Unknown, said));
        }
        let answers: Vec<_> =
            taken.iter().map(|each| Some(refused(each.error_code()?, each.error_message()))).collect();
        if answers.iter().flatten().any(|fault| fault.kind == Kind::Throttled) {
            fault::count_throttled("PutRecords");
        }
        Ok(answers)
    }

    /// A place to read from.
    pub(super) async fn iterator(&self, stream: &str, shard: &str, start: Start) -> Result<String, Fault> {
        let asked = self.client().await.get_shard_iterator().stream_name(stream).shard_id(id_of(shard));
        let asked = match start {
            Start::Horizon => asked.shard_iterator_type(ShardIteratorType::TrimHorizon),
            Start::At(sequence) => asked
                .shard_iterator_type(ShardIteratorType::AtSequenceNumber)
                .starting_sequence_number(sequence),
            Start::After(sequence) => asked
                .shard_iterator_type(ShardIteratorType::AfterSequenceNumber)
                .starting_sequence_number(sequence),
        };
        let answer = asked.send().await.map_err(|error| Fault::of("GetShardIterator", &error))?;
        answer.shard_iterator.ok_or_else(|| Fault::new(Kind::Missing, "GetShardIterator: none"))
    }

    /// What stands at a place, at most so many records.
    pub(super) async fn read(&self, iterator: &str, limit: usize) -> Result<Page, Fault> {
        let limit = i32::try_from(limit).unwrap_or(i32::MAX);
        let asked = self.client().await.get_records().shard_iterator(iterator).limit(limit);
        let answer = asked.send().await.map_err(|error| Fault::of("GetRecords", &error))?;
        let behind_ms =
            answer.millis_behind_latest.and_then(|behind| u64::try_from(behind).ok()).unwrap_or(0);
        let records = answer.records.into_iter().map(|record| Came {
            arrived_ms: record.approximate_arrival_timestamp.and_then(|at| at.to_millis().ok()).unwrap_or(0),
            sequence: record.sequence_number,
            partition_key: record.partition_key.unwrap_or_default(),
            data: record.data.into_inner(),
        });
        Ok(Page { records: records.collect(), next: answer.next_shard_iterator, behind_ms })
    }

    /// Whether Kinesis answers. That it is busy is an answer.
    pub(super) async fn check(&self, known: Option<String>) -> Result<(), Fault> {
        let client = self.client().await;
        let fault = match known {
            Some(stream) => {
                let asked = client.list_shards().stream_name(stream).max_results(1);
                asked.send().await.err().map(|error| Fault::of("ListShards", &error))
            }
            None => client
                .list_streams()
                .limit(1)
                .send()
                .await
                .err()
                .map(|error| Fault::of("ListStreams", &error)),
        };
        match fault {
            Some(fault) if matches!(fault.kind, Kind::Refused | Kind::NotSent | Kind::Unknown) => Err(fault),
            Some(_) | None => Ok(()),
        }
    }
}

/// Why a record of a request was not taken in. What failed inside may have been taken in all the same.
fn refused(code: &str, message: Option<&str>) -> Fault {
    let said = format!("PutRecords: {code}: {}", message.unwrap_or("without a word"));
    let kind = match code {
        "ProvisionedThroughputExceededException" | "KMSThrottlingException" => Kind::Throttled,
        _ => Kind::Unknown,
    };
    Fault::new(kind, said)
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

/// What requests go over: TLS by the same library as everywhere else.
fn http(settings: &Settings) -> Result<SharedHttpClient, Error> {
    let wrong = |reason: String| Error::Configuration { reason };
    let mut trusted = tls::TrustStore::default();
    if let Some(file) = &settings.ca_file {
        let cannot = |why: String| wrong(format!("queue.kinesis.tls.ca_file: {why}"));
        // Looked at here, as whoever uses them takes for granted that they are right.
        let mut roots = rustls::RootCertStore::empty();
        for certificate in certificates(file).map_err(cannot)? {
            let added = roots.add(certificate);
            added.map_err(|error| cannot(format!("{}: {error}", file.display())))?;
        }
        let text = std::fs::read(file).map_err(|error| cannot(format!("{}: {error}", file.display())))?;
        trusted.add_pem_certificate(text);
    }
    let context = tls::TlsContext::builder().with_trust_store(trusted).build();
    let context = context.map_err(|error| wrong(error.to_string()))?;
    let provider = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc);
    Ok(Builder::new().tls_provider(provider).tls_context(context).pool_idle_timeout(IDLE).build_https())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_was_not_taken_in_says_why() {
        let throttled = refused("ProvisionedThroughputExceededException", Some("Rate exceeded"));
        assert_eq!(throttled.kind, Kind::Throttled);
        assert_eq!(
            throttled.to_string(),
            "PutRecords: ProvisionedThroughputExceededException: Rate exceeded"
        );
        assert_eq!(refused("InternalFailure", None).kind, Kind::Unknown);
    }

    #[test]
    fn a_file_of_no_certificates_is_refused() {
        let file = std::env::temp_dir().join(format!("goconductor-no-ca-{}", std::process::id()));
        let settings = Settings { ca_file: Some(file.clone()), ..Settings::new("eu-central-1") };
        let missing = Api::new(settings.clone()).unwrap_err().to_string();
        assert!(
            missing.contains("queue.kinesis.tls.ca_file") && missing.contains("goconductor-no-ca"),
            "{missing}"
        );
        std::fs::write(&file, "no certificate").unwrap();
        let empty = Api::new(settings.clone()).unwrap_err().to_string();
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        std::fs::write(&file, broken).unwrap();
        let broken = Api::new(settings);
        std::fs::remove_file(&file).unwrap();
        assert!(empty.contains("no certificate in PEM form"), "{empty}");
        assert!(broken.is_err());
    }
}
