//! `goconductor access …`

use crate::args::{AccessCommand, AccessKeyCommand, CreateKeyArgs, GlobalArgs};
use crate::error::{CliError, Exit, Result};
use crate::output::Output;
use crate::session::ServerSession;
use crate::store_location::{StoreLocation, check_presence};
use goconductor_access::IssuedKey;
use goconductor_client::{AccessKey, CreatedAccessKey, NewAccessKey};
use goconductor_saga::NameKind;
use goconductor_service_kit::config::{Config, is_namespace_pattern};
use goconductor_service_kit::duration;
use goconductor_store::{AccessKey as StoredKey, AccessScope};
use goconductor_transition::clock;
use secrecy::ExposeSecret;

const HEADS: [&str; 8] = ["ID", "NAME", "ROLES", "NAMESPACES", "SERVICES", "CREATED", "EXPIRES", "REVOKED"];

/// Runs a command for access control.
pub(super) async fn run(
    AccessCommand::Key(command): AccessCommand,
    global: &GlobalArgs,
    out: &Output,
) -> Result {
    let session = || ServerSession::new(global, out);
    match command {
        AccessKeyCommand::Create(args) if args.offline => create_offline(&args, global, out).await,
        AccessKeyCommand::Create(args) => create(&args, &session()?).await,
        AccessKeyCommand::List { limit } => list(limit, &session()?).await,
        AccessKeyCommand::Revoke { id } => {
            let reply = session()?.client.revoke_access_key(&id).await?;
            if !out.structured(&reply.text)? {
                out.message(&format!("access key {id} revoked"));
            }
            Ok(Exit::Success)
        }
        AccessKeyCommand::Rotate { id, overlap } => {
            let reply = session()?.client.rotate_access_key(&id, overlap).await?;
            show(&reply.value, &reply.text, out)
        }
    }
}

async fn create(args: &CreateKeyArgs, session: &ServerSession) -> Result {
    let key = NewAccessKey {
        name: args.name.clone(),
        roles: args.roles.clone(),
        namespaces: args.namespaces.clone(),
        services: args.services.clone(),
        expires_in: args.expires_in.map(duration::format),
    };
    let reply = session.client.create_access_key(&key).await?;
    show(&reply.value, &reply.text, &session.out)
}

/// Prints the token alone to standard output, so that a script can store it.
fn show(created: &CreatedAccessKey, text: &str, out: &Output) -> Result {
    if out.structured(text)? {
        return Ok(Exit::Success);
    }
    out.data(&created.token)?;
    out.message(&format!("access key {} created; its token cannot be shown again", created.key.id));
    Ok(Exit::Success)
}

async fn list(limit: u32, session: &ServerSession) -> Result {
    let ServerSession { client, out } = session;
    let reply = client.access_keys(Some(limit), None).await?;
    if out.structured_list(&reply.text, "keys")? {
        return Ok(Exit::Success);
    }
    if out.names_only() {
        for key in &reply.value.keys {
            out.data(&key.id)?;
        }
    } else if reply.value.keys.is_empty() {
        out.message("no access keys");
    } else {
        out.table(&HEADS, reply.value.keys.iter().map(|key| row(key, out)).collect())?;
    }
    if !reply.value.next_page_token.is_empty() {
        out.message("more access keys exist: increase --limit, up to 1000");
    }
    Ok(Exit::Success)
}

fn row(key: &AccessKey, out: &Output) -> Vec<String> {
    let all = |names: &[String]| if names.is_empty() { "*".to_owned() } else { names.join(",") };
    vec![
        key.id.clone(),
        key.name.clone(),
        key.roles.join(","),
        key.namespaces.join(","),
        all(&key.services),
        out.time(Some(&key.created_at)),
        // An expiry lies in the future, so an age would not describe it.
        key.expires_at.clone().unwrap_or_else(|| "-".to_owned()),
        out.time(key.revoked_at.as_deref()),
    ]
}

/// Creates a key in the database. A user who can write the database can do everything, so no credential is needed.
async fn create_offline(args: &CreateKeyArgs, global: &GlobalArgs, out: &Output) -> Result {
    let scope = scope(args, global)?;
    let location = StoreLocation::of(&args.store, out)?;
    if let StoreLocation::Sqlite(path) = &location {
        check_presence(path)?;
    }
    let store = goconductor_store::open(location.as_database()).await?;
    let IssuedKey { id, text, digest } =
        IssuedKey::generate().map_err(|error| CliError::new(Exit::Other, error.to_string()))?;
    let created_at = clock::now();
    let key = StoredKey {
        id,
        name: args.name.clone(),
        digest,
        scope,
        created_by: "command line".to_owned(),
        created_at,
        expires_at: args.expires_in.map(|time| created_at.after(time)),
        revoked_at: None,
    };
    if !store.create_access_key(&key).await? {
        return Err(CliError::new(Exit::Conflict, "a random id is in use: repeat the command"));
    }
    let token = text.expose_secret();
    let document = serde_json::json!({"key": {"id": key.id, "name": key.name}, "token": token});
    if out.structured(&document.to_string())? {
        return Ok(Exit::Success);
    }
    out.data(token)?;
    out.message(&format!("access key {} created; its token cannot be shown again", key.id));
    Ok(Exit::Success)
}

/// Checks what a key without a server would grant.
fn scope(args: &CreateKeyArgs, global: &GlobalArgs) -> Result<AccessScope> {
    let invalid = |message: String| CliError::new(Exit::Usage, message);
    let config = Config::load(&args.store.settings.sources())?;
    if let Some(unknown) = args.roles.iter().find(|role| config.access.permissions_of(role).is_none()) {
        let known = Vec::from_iter(config.access.role_names()).join(", ");
        return Err(invalid(format!("unknown role {unknown:?}: the roles are {known}")));
    }
    let namespaces =
        if args.namespaces.is_empty() { vec![global.namespace.clone()] } else { args.namespaces.clone() };
    if let Some(wrong) = namespaces.iter().find(|name| !is_namespace_pattern(name)) {
        let rule = NameKind::Namespace.rule();
        return Err(invalid(format!("invalid namespace {wrong:?}: {rule}, or * for all")));
    }
    for service in &args.services {
        NameKind::Service.check(service).map_err(|error| invalid(error.to_string()))?;
    }
    Ok(AccessScope { roles: args.roles.clone(), namespaces, services: args.services.clone() })
}
