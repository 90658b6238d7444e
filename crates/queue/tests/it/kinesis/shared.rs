//! Leases that processes share, as they do in the state store's database: one has them, and the others ask it.

use async_trait::async_trait;
use goconductor_queue::Error;
use goconductor_queue::kinesis::{Checkpoint, Lease, Leases, Mark, NewLease, Progress, Take};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Answers whoever asks for these leases, one question a connection; its address.
pub(super) async fn serve(leases: Arc<dyn Leases>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut asker, _)) = listener.accept().await {
            let leases = Arc::clone(&leases);
            tokio::spawn(async move {
                let mut question = String::new();
                BufReader::new(&mut asker).read_line(&mut question).await.unwrap();
                let answer = answer(&*leases, &serde_json::from_str(&question).unwrap()).await;
                drop(asker.write_all(format!("{answer}\n").as_bytes()).await);
            });
        }
    });
    address
}

/// The leases that another process has.
pub(super) fn at(address: &str) -> Arc<dyn Leases> {
    Arc::new(Elsewhere(address.parse().unwrap()))
}

#[derive(Debug)]
struct Elsewhere(SocketAddr);

impl Elsewhere {
    async fn ask(&self, question: Value) -> Result<Value, Error> {
        let asking = async {
            let mut other = TcpStream::connect(self.0).await?;
            other.write_all(format!("{question}\n").as_bytes()).await?;
            let mut answer = String::new();
            BufReader::new(other).read_line(&mut answer).await?;
            Ok::<_, std::io::Error>(serde_json::from_str(&answer)?)
        };
        asking.await.map_err(|error| Error::Unavailable { reason: error.to_string() })
    }
}

#[async_trait]
impl Leases for Elsewhere {
    async fn list(&self, stream: &str) -> Result<Vec<Lease>, Error> {
        Ok(list(&self.ask(json!({"list": stream})).await?, lease))
    }

    async fn sync(&self, stream: &str, new: &[NewLease], gone: &[String]) -> Result<(), Error> {
        let new: Vec<Value> = new.iter().map(|new| json!([new.shard, new.parents])).collect();
        self.ask(json!({"sync": stream, "new": new, "gone": gone})).await?;
        Ok(())
    }

    async fn take(&self, stream: &str, take: &Take) -> Result<Vec<bool>, Error> {
        let Take { owner, shards, steal, lives } = take;
        let lives = millis(*lives);
        let question =
            json!({"take": stream, "owner": owner, "shards": shards, "steal": steal, "lives": lives});
        Ok(list(&self.ask(question).await?, yes))
    }

    async fn mark(&self, stream: &str, owner: &str, marks: &[Mark]) -> Result<Vec<bool>, Error> {
        let mark = |mark: &Mark| json!([mark.shard, mark.counter, said(&mark.progress), millis(mark.lives)]);
        let marks: Vec<Value> = marks.iter().map(mark).collect();
        Ok(list(&self.ask(json!({"mark": stream, "owner": owner, "marks": marks})).await?, yes))
    }
}

async fn answer(leases: &dyn Leases, question: &Value) -> Value {
    if let Some(stream) = question["list"].as_str() {
        let all = leases.list(stream).await.unwrap();
        let lease = |each: &Lease| {
            json!([
                each.shard,
                each.parents,
                each.owner,
                each.counter,
                millis(each.left),
                said(&each.progress)
            ])
        };
        return all.iter().map(lease).collect();
    }
    if let Some(stream) = question["sync"].as_str() {
        let new = |of: &Value| NewLease { shard: text(&of[0]), parents: list(&of[1], text) };
        leases.sync(stream, &list(&question["new"], new), &list(&question["gone"], text)).await.unwrap();
        return Value::Null;
    }
    if let Some(stream) = question["take"].as_str() {
        let take = Take {
            owner: text(&question["owner"]),
            shards: list(&question["shards"], |of| (text(&of[0]), number(&of[1]))),
            steal: yes(&question["steal"]),
            lives: Duration::from_millis(number(&question["lives"])),
        };
        return leases.take(stream, &take).await.unwrap().into();
    }
    let mark = |of: &Value| Mark {
        shard: text(&of[0]),
        counter: number(&of[1]),
        progress: progress(&of[2]),
        lives: Duration::from_millis(number(&of[3])),
    };
    let marks = list(&question["marks"], mark);
    leases.mark(&text(&question["mark"]), &text(&question["owner"]), &marks).await.unwrap().into()
}

fn lease(of: &Value) -> Lease {
    Lease {
        shard: text(&of[0]),
        parents: list(&of[1], text),
        owner: of[2].as_str().map(str::to_owned),
        counter: number(&of[3]),
        left: Duration::from_millis(number(&of[4])),
        progress: progress(&of[5]),
    }
}

fn said(progress: &Progress) -> Value {
    json!([progress.checkpoint.to_string(), progress.taken, progress.waiting, progress.oldest_waiting_ms])
}

fn progress(of: &Value) -> Progress {
    Progress {
        checkpoint: Checkpoint::from(of[0].as_str().unwrap()),
        taken: number(&of[1]),
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

fn yes(of: &Value) -> bool {
    of.as_bool().unwrap()
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap()
}
