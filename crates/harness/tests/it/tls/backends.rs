//! TLS of PostgreSQL, NATS and etcd with real servers. Each must present a certificate that contains the name of its host.

use crate::cluster::{ONE, possible};
use goconductor_election::{Election, ElectionTls, EtcdElection, etcd};
use goconductor_harness::Services;
use goconductor_queue::nats::{NatsCredentials, NatsQueue, Settings};
use goconductor_queue::{Queue, settings::Tls};
use goconductor_service_kit::config::{Config, Flag, Sources};
use goconductor_store::ClusterStore;
use goconductor_store::postgres::PostgresStore;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tokio::net::{TcpListener, TcpStream};

/// A loopback address that no certificate contains.
const OTHER_HOST: &str = "127.0.0.2";

/// Servers that are removed at the end of the test.
struct OwnServices {
    services: Services,
    scripts: Vec<&'static str>,
    _folder: tempfile::TempDir,
}

impl OwnServices {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().to_owned(), folder.path().join("s")] {
            std::fs::create_dir_all(&path).unwrap();
            let status = std::process::Command::new("chmod").arg("755").arg(&path).status().unwrap();
            assert!(status.success());
        }
        Self { services: Services::in_folder(folder.path().join("s")), scripts: Vec::new(), _folder: folder }
    }

    async fn up(
        &mut self,
        script: &'static str,
        arguments: &[&str],
        variable: &str,
    ) -> BTreeMap<String, String> {
        self.scripts.push(script);
        self.services.call_with(script, arguments, &[(variable, "1")]).await.unwrap()
    }
}

impl Drop for OwnServices {
    fn drop(&mut self) {
        for script in &self.scripts {
            self.services.wipe(script);
        }
    }
}

/// Forwards connections from [`OTHER_HOST`] to a server. Returns its address.
async fn under_another_name(server: &str) -> String {
    let listener = TcpListener::bind((OTHER_HOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = server.to_owned();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let server = server.clone();
            tokio::spawn(async move {
                let mut upstream = TcpStream::connect(server).await.unwrap();
                drop(tokio::io::copy_bidirectional(&mut client, &mut upstream).await);
            });
        }
    });
    address
}

/// Returns the URL of a database as the configuration completes it.
fn database_url(url: &str, files: &[(&str, PathBuf)]) -> String {
    let flag = |path: String, value: String| Flag { path, value, name: "--set".to_owned() };
    let mut flags = vec![flag("state_store.url".to_owned(), url.to_owned())];
    let file =
        |(name, path): &(&str, PathBuf)| flag(format!("state_store.tls.{name}"), path.display().to_string());
    flags.extend(files.iter().map(file));
    let config = Config::load(&Sources { flags, ..Sources::default() }).unwrap();
    config.state_store.url.unwrap().expose().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_is_used_only_with_a_trusted_certificate_of_its_host() {
    if !possible() {
        return;
    }
    let _one = ONE.lock().await;
    let mut own = OwnServices::new();
    let exported = own.up("postgres.sh", &["up"], "GOCONDUCTOR_SERVICES_SECURED").await;
    let (url, folder) = (&exported["DATABASE_URL"], Path::new(&exported["POSTGRES_CERTIFICATES"]));
    let ca = ("ca_file", folder.join("ca.pem"));
    let certificate = ("certificate_file", folder.join("client.pem"));
    let key = ("key_file", folder.join("client.key"));
    let all = [ca.clone(), certificate.clone(), key.clone()];
    let store = PostgresStore::connect(&database_url(url, &all), 2).await.unwrap();
    store.now().await.unwrap();

    let server = url.split_once('@').unwrap().1.split_once('/').unwrap().0;
    let elsewhere = url.replace(server, &under_another_name(server).await);
    let distrusted = [("ca_file", folder.join("client.pem")), certificate, key];
    for (case, url) in [
        ("another name", database_url(&elsewhere, &all)),
        ("without a client certificate", database_url(url, &[ca])),
        ("another authority", database_url(url, &distrusted)),
        ("without TLS", format!("{url}?sslmode=disable")),
    ] {
        let refused = PostgresStore::connect(&url, 2).await.err();
        println!("{case}: {refused:?}");
        assert!(refused.is_some(), "{case}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_under_another_name_is_refused() {
    if !possible() {
        return;
    }
    let _one = ONE.lock().await;
    let mut own = OwnServices::new();
    let exported = own.up("nats.sh", &["up", "1"], "GOCONDUCTOR_SERVICES_SECURED").await;
    let file = |name: &str| Some(PathBuf::from(&exported[name]));
    let tls = Tls {
        ca_file: file("NATS_CA"),
        certificate_file: file("NATS_CERTIFICATE"),
        key_file: file("NATS_KEY"),
    };
    let credentials = NatsCredentials::Password {
        user: exported["NATS_USER"].clone(),
        password: exported["NATS_PASSWORD"].clone().into(),
    };
    let server = exported["NATS_SERVERS"].split(',').next().unwrap().to_owned();
    let settings = |server: &str| Settings {
        tls: Some(tls.clone()),
        credentials: Some(credentials.clone()),
        ..Settings::new(vec![server.to_owned()])
    };
    NatsQueue::new(settings(&server)).unwrap().check().await.unwrap();
    let elsewhere = under_another_name(&server).await;
    let refused = NatsQueue::new(settings(&elsewhere)).unwrap().check().await.unwrap_err().report();
    println!("another name: {refused}");
    assert!(refused.contains("certificate"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_under_another_name_is_refused() {
    if !possible() {
        return;
    }
    let _one = ONE.lock().await;
    let mut own = OwnServices::new();
    let exported = own.up("etcd.sh", &["up"], "GOCONDUCTOR_SERVICES_TLS").await;
    let folder = Path::new(&exported["ETCD_CERTIFICATES"]);
    let tls = ElectionTls {
        ca_file: Some(folder.join("ca.pem")),
        certificate_file: Some(folder.join("client.pem")),
        key_file: Some(folder.join("client.key")),
    };
    let server = exported["ETCD_ENDPOINTS"].split(',').next().unwrap().to_owned();
    let settings = |server: &str| etcd::Settings {
        tls: Some(tls.clone()),
        ..etcd::Settings::new(vec![server.to_owned()])
    };
    let election = EtcdElection::connect(settings(&server)).await.unwrap();
    election.list().await.unwrap();
    let elsewhere = under_another_name(&server).await;
    let refused = match EtcdElection::connect(settings(&elsewhere)).await {
        Ok(election) => election.list().await.map(drop),
        Err(error) => Err(error),
    };
    let refused = refused.unwrap_err().to_string();
    println!("another name: {refused}");
    assert!(refused.contains("certificate") || refused.contains("TLS"), "{refused}");
}
