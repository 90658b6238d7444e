//! Leases that several processes share, as they do in the database of the state store: one process owns them and serves
//! the others.

use async_trait::async_trait;
use goconductor_queue::Error;
use goconductor_queue::kinesis::{
    Checkpoint, Lease, Leases, NewLease, ShardLeaseRequest, ShardLeaseUpdate, ShardProgress,
};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Serves leases, with one request per connection. Returns the address.
pub(super) async fn serve(leases: Arc<dyn Leases>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let leases = Arc::clone(&leases);
            tokio::spawn(async move {
                let mut request = String::new();
                BufReader::new(&mut client).read_line(&mut request).await.unwrap();
                let response = respond(&*leases, &serde_json::from_str(&request).unwrap()).await;
                drop(client.write_all(format!("{response}\n").as_bytes()).await);
            });
        }
    });
    address
}

/// Returns the leases that another process serves.
pub(super) fn connect(address: &str) -> Arc<dyn Leases> {
    Arc::new(RemoteLeases(address.parse().unwrap()))
}

#[derive(Debug)]
struct RemoteLeases(SocketAddr);

impl RemoteLeases {
    async fn request(&self, request: Value) -> Result<Value, Error> {
        let requesting = async {
            let mut server = TcpStream::connect(self.0).await?;
            server.write_all(format!("{request}\n").as_bytes()).await?;
            let mut response = String::new();
            BufReader::new(server).read_line(&mut response).await?;
            Ok::<_, std::io::Error>(serde_json::from_str(&response)?)
        };
        requesting.await.map_err(|error| Error::unavailable("request for leases failed").with_source(error))
    }
}

#[async_trait]
impl Leases for RemoteLeases {
    async fn list(&self, stream: &str) -> Result<Vec<Lease>, Error> {
        Ok(list(&self.request(json!({"list": stream})).await?, lease))
    }

    async fn sync(&self, stream: &str, new: &[NewLease], removed: &[String]) -> Result<(), Error> {
        let new: Vec<Value> = new.iter().map(|new| json!([new.shard, new.parents])).collect();
        self.request(json!({"sync": stream, "new": new, "removed": removed})).await?;
        Ok(())
    }

    async fn acquire(&self, stream: &str, request: &ShardLeaseRequest) -> Result<Vec<bool>, Error> {
        let ShardLeaseRequest { owner, shards, steal, ttl } = request;
        let ttl = millis(*ttl);
        let request =
            json!({"acquire": stream, "owner": owner, "shards": shards, "steal": steal, "ttl": ttl});
        Ok(list(&self.request(request).await?, boolean))
    }

    async fn update(
        &self,
        stream: &str,
        owner: &str,
        updates: &[ShardLeaseUpdate],
    ) -> Result<Vec<bool>, Error> {
        let update = |update: &ShardLeaseUpdate| {
            json!([update.shard, update.counter, progress_json(&update.progress), millis(update.ttl)])
        };
        let updates: Vec<Value> = updates.iter().map(update).collect();
        let request = json!({"update": stream, "owner": owner, "updates": updates});
        Ok(list(&self.request(request).await?, boolean))
    }
}

async fn respond(leases: &dyn Leases, request: &Value) -> Value {
    if let Some(stream) = request["list"].as_str() {
        let all = leases.list(stream).await.unwrap();
        let lease = |each: &Lease| {
            json!([
                each.shard,
                each.parents,
                each.owner,
                each.counter,
                millis(each.remaining),
                progress_json(&each.progress)
            ])
        };
        return all.iter().map(lease).collect();
    }
    if let Some(stream) = request["sync"].as_str() {
        let new = |of: &Value| NewLease { shard: text(&of[0]), parents: list(&of[1], text) };
        leases.sync(stream, &list(&request["new"], new), &list(&request["removed"], text)).await.unwrap();
        return Value::Null;
    }
    if let Some(stream) = request["acquire"].as_str() {
        let acquire = ShardLeaseRequest {
            owner: text(&request["owner"]),
            shards: list(&request["shards"], |of| (text(&of[0]), number(&of[1]))),
            steal: boolean(&request["steal"]),
            ttl: Duration::from_millis(number(&request["ttl"])),
        };
        return leases.acquire(stream, &acquire).await.unwrap().into();
    }
    let update = |of: &Value| ShardLeaseUpdate {
        shard: text(&of[0]),
        counter: number(&of[1]),
        progress: progress(&of[2]),
        ttl: Duration::from_millis(number(&of[3])),
    };
    let updates = list(&request["updates"], update);
    leases.update(&text(&request["update"]), &text(&request["owner"]), &updates).await.unwrap().into()
}

fn lease(of: &Value) -> Lease {
    Lease {
        shard: text(&of[0]),
        parents: list(&of[1], text),
        owner: of[2].as_str().map(str::to_owned),
        counter: number(&of[3]),
        remaining: Duration::from_millis(number(&of[4])),
        progress: progress(&of[5]),
    }
}

fn progress_json(progress: &ShardProgress) -> Value {
    let ShardProgress { checkpoint, acknowledged, waiting, oldest_waiting_ms } = progress;
    json!([checkpoint.to_string(), acknowledged, waiting, oldest_waiting_ms])
}

fn progress(of: &Value) -> ShardProgress {
    ShardProgress {
        checkpoint: Checkpoint::from(of[0].as_str().unwrap()),
        acknowledged: number(&of[1]),
        waiting: number(&of[2]),
        oldest_waiting_ms: of[3].as_i64(),
    }
}

fn list<T>(of: &Value, each: impl Fn(&Value) -> T) -> Vec<T> {
    of.as_array().unwrap().iter().map(each).collect()
}

fn text(of: &Value) -> String {
    of.as_str().unwrap().to_owned()
}

fn number(of: &Value) -> u64 {
    of.as_u64().unwrap()
}

fn boolean(of: &Value) -> bool {
    of.as_bool().unwrap()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap()
}
