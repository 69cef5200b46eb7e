//! `--discovery-srv`: the members of a new cluster are those that the SRV records of a domain name.

use std::net::{IpAddr, SocketAddr};

use hickory_resolver::TokioResolver;
use hickory_resolver::net::NetError;
use hickory_resolver::proto::rr::RData;
use hickory_resolver::proto::rr::rdata::SRV;

use crate::config::{Config, Url};
use crate::log;

/// A resolver as this machine is configured.
pub(super) fn resolver() -> Result<TokioResolver, String> {
    let built = TokioResolver::builder_tokio().and_then(|builder| builder.build());
    built.map_err(|error| format!("cannot use /etc/resolv.conf: {error}"))
}

/// All that the records name, in the form of `--initial-cluster`. The member at one of this member's advertised addresses
/// gets this member's name, the others numbers.
///
/// # Errors
/// There are no records, or none is of this member.
pub(super) async fn initial_cluster(config: &Config, resolver: &TokioResolver) -> Result<String, String> {
    let (mut found, mut failed) = (Vec::new(), Vec::new());
    for (scheme, service) in [("https", "etcd-server-ssl"), ("http", "etcd-server")] {
        let service = match config.discovery_srv_name.as_str() {
            "" => service.to_owned(),
            suffix => format!("{service}-{suffix}"),
        };
        let members = members(config, resolver, scheme, &service).await;
        tell(config, scheme, &service, &members);
        match members {
            Ok(mut members) => found.append(&mut members),
            Err(why) => failed.push(why),
        }
    }
    let failed = failed.join("\n");
    if !failed.is_empty() {
        log::warning!("failed to resolve during SRV discovery", "error" = &failed);
    }
    if found.is_empty() {
        return Err(failed);
    }
    for node in &found {
        log::info!("got bootstrap from DNS for etcd-server", "node" = node);
    }
    if !found.iter().any(|node| node.split_once('=').is_some_and(|(name, _)| name == config.name)) {
        return Err(format!("cannot find local etcd member {} in SRV records", log::quote(&config.name)));
    }
    Ok(found.join(","))
}

fn tell(config: &Config, scheme: &str, service: &str, members: &Result<Vec<String>, String>) {
    let asked = if scheme == "https" { "etcd-server-ssl" } else { "etcd-server" };
    let mut line = log::line!(Info, logger: "", format!("get cluster for {asked} SRV"),
        "service-scheme" = scheme,
        "service-name" = service,
        "server-name" = &config.name,
        "discovery-srv" = &config.discovery_srv,
        "advertise-peer-urls" = &config.advertise_peer_urls,
        "found-cluster" = members.as_deref().unwrap_or_default());
    if let Err(why) = members {
        line.fields.push(("error".into(), why.into()));
    }
    if log::enabled(line.level) {
        log::write(&line);
    }
}

/// `name=scheme://target:port` for each record of one service. Targets that cannot be resolved are left out.
async fn members(
    config: &Config,
    resolver: &TokioResolver,
    scheme: &str,
    service: &str,
) -> Result<Vec<String>, String> {
    let own = own_addresses(config, resolver).await?;
    let queried = |why: String| format!("error querying DNS SRV records for _{service} {why}");
    let name = format!("_{service}._tcp.{}", config.discovery_srv);
    let records = records(resolver, &name).await.map_err(queried)?;
    let (mut members, mut numbered, mut failure) = (Vec::new(), 0, String::new());
    for record in records {
        let target = record.target.to_ascii();
        let target = target.trim_end_matches('.');
        let there = match addresses(resolver, target, &record.port.to_string()).await {
            Ok(there) => there,
            Err(why) => {
                failure = why;
                continue;
            }
        };
        let url = format!("{scheme}://{target}:{}", record.port);
        let mine = own.iter().find(|(address, _)| there.contains(address)).map(|(_, url)| *url);
        let name = match mine {
            Some(_) if !config.name.is_empty() => config.name.clone(),
            _ => {
                numbered += 1;
                (numbered - 1).to_string()
            }
        };
        match mine.filter(|mine| !mine.to_string().starts_with(&format!("{scheme}://"))) {
            Some(mine) => {
                failure = format!(
                    "bootstrap at {url} from DNS for {service} has scheme mismatch with expected peer {mine}"
                );
            }
            None => members.push(format!("{name}={url}")),
        }
    }
    if members.is_empty() { Err(queried(failure)) } else { Ok(members) }
}

/// Where `--initial-advertise-peer-urls` lead.
async fn own_addresses<'a>(
    config: &'a Config,
    resolver: &TokioResolver,
) -> Result<Vec<(SocketAddr, &'a Url)>, String> {
    let mut own = Vec::new();
    for url in &config.advertise_peer_urls {
        let there = addresses(resolver, url.host_name(), url.port()).await?;
        own.extend(there.into_iter().map(|address| (address, url)));
    }
    Ok(own)
}

/// The records, most wanted first; among equals always in the same order.
async fn records(resolver: &TokioResolver, name: &str) -> Result<Vec<SRV>, String> {
    let answer = resolver.srv_lookup(name).await.map_err(|error| failed(name, &error))?;
    let srv = |data: &RData| match data {
        RData::SRV(record) if is_host_name(&record.target.to_ascii()) => Some(record.clone()),
        _ => None,
    };
    let mut records: Vec<SRV> = answer.answers().iter().filter_map(|record| srv(&record.data)).collect();
    records.sort_by_key(|record| (record.priority, record.target.to_ascii(), record.port));
    if records.is_empty() {
        return Err(format!("lookup {name}: no such host"));
    }
    Ok(records)
}

/// Anything may stand in a record: a comma, say, which would become another member.
fn is_host_name(target: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    target.trim_end_matches('.').chars().all(plain) && target != "."
}

async fn addresses(resolver: &TokioResolver, host: &str, port: &str) -> Result<Vec<SocketAddr>, String> {
    let port: u16 = port.parse().map_err(|_| format!("lookup tcp/{port}: unknown port"))?;
    let ips: Vec<IpAddr> = match host.parse() {
        Ok(ip) => vec![ip],
        Err(_) => resolver.lookup_ip(host).await.map_err(|error| failed(host, &error))?.iter().collect(),
    };
    Ok(ips.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
}

fn failed(name: &str, error: &NetError) -> String {
    match error.is_no_records_found() {
        true => format!("lookup {name}: no such host"),
        false => format!("lookup {name}: {error}"),
    }
}

#[cfg(test)]
#[path = "../../tests/harness/name_server.rs"]
mod name_server;

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
    use hickory_resolver::net::runtime::TokioRuntimeProvider;
    use hickory_resolver::proto::rr::{Name, Record};
    use name_server::{NameServer, name, srv};

    fn host(text: &str, last: u8) -> Record {
        name_server::host(text, [10, 0, 0, last])
    }

    /// Three hosts; the first two are members of a cluster over plain HTTP.
    fn zone() -> Vec<Record> {
        vec![
            host("infra0.example.com.", 10),
            host("infra1.example.com.", 11),
            host("infra2.example.com.", 12),
            srv("etcd-server", 0, "infra0.example.com.", 2380),
            srv("etcd-server", 0, "infra1.example.com.", 2380),
        ]
    }

    /// A resolver that asks this name server.
    fn resolver(server: &NameServer) -> TokioResolver {
        let mut connection = ConnectionConfig::udp();
        connection.port = server.address.port();
        let server = NameServerConfig::new(server.address.ip(), true, vec![connection]);
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        builder.options_mut().use_hosts_file = ResolveHosts::Never;
        builder.build().unwrap()
    }

    fn config(own: &str) -> Config {
        Config {
            name: "me".into(),
            discovery_srv: "example.com".into(),
            advertise_peer_urls: vec![Url::parse(own).unwrap()],
            ..Config::default()
        }
    }

    async fn told(config: &Config, zone: Vec<Record>) -> Result<String, String> {
        let server = NameServer::start(([127, 0, 0, 1], 0).into(), zone).unwrap();
        initial_cluster(config, &resolver(&server)).await
    }

    async fn found(own: &str, zone: Vec<Record>) -> Result<String, String> {
        told(&config(own), zone).await
    }

    #[tokio::test]
    async fn the_member_at_an_own_address_gets_the_own_name_and_the_others_numbers() {
        let all = "me=http://infra0.example.com:2380,0=http://infra1.example.com:2380";
        assert_eq!(found("http://infra0.example.com:2380", zone()).await.unwrap(), all);
        assert_eq!(found("http://10.0.0.10:2380", zone()).await.unwrap(), all);
        let all = "0=http://infra0.example.com:2380,me=http://infra1.example.com:2380";
        assert_eq!(found("http://10.0.0.11:2380", zone()).await.unwrap(), all);
    }

    #[tokio::test]
    async fn records_for_tls_and_those_without_are_put_together() {
        let mut zone = zone();
        zone.push(srv("etcd-server-ssl", 0, "infra2.example.com.", 2380));
        let all = "0=https://infra2.example.com:2380,me=http://infra0.example.com:2380,\
                   0=http://infra1.example.com:2380";
        assert_eq!(found("http://infra0.example.com:2380", zone).await.unwrap(), all);
    }

    #[tokio::test]
    async fn a_suffix_chooses_other_records_and_priority_their_order() {
        let mut config = config("http://infra2.example.com:2380");
        config.discovery_srv_name = "blue".into();
        let mut zone = zone();
        zone.push(srv("etcd-server-blue", 2, "infra2.example.com.", 2380));
        zone.push(srv("etcd-server-blue", 1, "infra1.example.com.", 2381));
        let all = "0=http://infra1.example.com:2381,me=http://infra2.example.com:2380";
        assert_eq!(told(&config, zone).await.unwrap(), all);
    }

    #[tokio::test]
    async fn a_member_that_is_not_among_the_records_does_not_start() {
        let refused = found("http://infra2.example.com:2380", zone()).await.unwrap_err();
        assert_eq!(refused, r#"cannot find local etcd member "me" in SRV records"#);
        let refused = found("http://infra0.example.com:2381", zone()).await.unwrap_err();
        assert_eq!(refused, r#"cannot find local etcd member "me" in SRV records"#);
    }

    #[tokio::test]
    async fn without_records_both_questions_are_told() {
        let zone = vec![host("infra0.example.com.", 10)];
        let refused = found("http://infra0.example.com:2380", zone).await.unwrap_err();
        let told = |service: &str| {
            format!(
                "error querying DNS SRV records for _{service} lookup _{service}._tcp.example.com: no such host"
            )
        };
        assert_eq!(refused, format!("{}\n{}", told("etcd-server-ssl"), told("etcd-server")));
        let refused = found("http://nowhere.example.com:2380", Vec::new()).await.unwrap_err();
        let told = "lookup nowhere.example.com: no such host";
        assert_eq!(refused, format!("{told}\n{told}"));
    }

    #[tokio::test]
    async fn a_target_without_an_address_or_of_another_scheme_is_left_out() {
        let mut some = zone();
        some.push(srv("etcd-server", 0, "gone.example.com.", 2380));
        let all = "me=http://infra0.example.com:2380,0=http://infra1.example.com:2380";
        assert_eq!(found("http://infra0.example.com:2380", some).await.unwrap(), all);
        let refused = found("https://infra0.example.com:2380", zone()).await.unwrap_err();
        assert_eq!(refused, r#"cannot find local etcd member "me" in SRV records"#);
        let one: Vec<Record> = zone().into_iter().take(4).collect();
        let refused = found("https://infra0.example.com:2380", one).await.unwrap_err();
        let why = "bootstrap at http://infra0.example.com:2380 from DNS for etcd-server has scheme mismatch with \
                   expected peer https://infra0.example.com:2380";
        assert!(refused.ends_with(why), "{refused}");
    }

    #[tokio::test]
    async fn a_target_that_is_no_host_name_cannot_bring_members_in() {
        let mut zone = zone();
        let evil = Name::from_labels([&b"a,evil=http://b"[..], b"example", b"com"]).unwrap();
        let data = SRV::new(0, 0, 1, evil);
        zone.push(Record::from_rdata(name("_etcd-server._tcp.example.com."), 60, RData::SRV(data)));
        let all = "me=http://infra0.example.com:2380,0=http://infra1.example.com:2380";
        assert_eq!(found("http://infra0.example.com:2380", zone).await.unwrap(), all);
    }
}
