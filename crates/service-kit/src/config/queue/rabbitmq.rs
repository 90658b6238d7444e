//! The section `queue.rabbitmq`.

use super::super::reader::SettingReader;
use super::super::{tls, value};
use goconductor_queue::settings::Tls;
use goconductor_queue::settings::rabbitmq::Settings;

pub(super) fn read(reader: &mut SettingReader<'_>, prefix: &str, is_used: bool) -> Option<Settings> {
    let hosts = value::hosts("127.0.0.1:5672");
    let hosts = reader.required_if(is_used, "queue.rabbitmq.hosts", &hosts, "queue.backend");
    // The section must be complete even if the queue is not used yet, because processes can migrate to it.
    let because = if is_used { "queue.backend" } else { "queue.rabbitmq.hosts" };
    let is_needed = is_used || hosts.is_some();
    let user = reader.required_if(is_needed, "queue.rabbitmq.user", &value::user_name(), because);
    let password = reader.required_if(is_needed, "queue.rabbitmq.password", &value::secret(), because);
    let is_vhost = |text: &str| !text.is_empty() && !text.contains(char::is_control);
    let prefetch = reader.get("queue.rabbitmq.prefetch", &value::integer(1, 10_000), 64);
    let prefetch = u16::try_from(prefetch).unwrap_or(u16::MAX);
    let vhost = value::text("a virtual host", is_vhost);
    let vhost = reader.get("queue.rabbitmq.vhost", &vhost, "/".to_owned());
    let replication = reader.optional("queue.rabbitmq.replication", &value::integer(1, 9));
    let max_messages =
        reader.get("queue.rabbitmq.max_messages", &value::integer(1000, 100_000_000), 100_000).into();
    let tls = tls::optional(reader, "queue.rabbitmq");
    let tls = tls.map(|tls::Files { ca_file, certificate_file, key_file }| Tls {
        ca_file,
        certificate_file,
        key_file,
    });
    Some(Settings {
        vhost,
        prefix: prefix.to_owned(),
        replication,
        max_messages,
        prefetch,
        tls,
        ..Settings::new(hosts?, user?, password?)
    })
}
