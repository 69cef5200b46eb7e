//! A new cluster whose members are not named by `--initial-cluster`: DNS names them, or a registry does.

use std::sync::Arc;

use super::{Error, check_advertised, dns, initial_members, join, own_member, registry};
use crate::config::Config;
use crate::log;
use crate::peer::client::Dialer;

/// The members are found out elsewhere.
pub fn is_wanted(config: &Config) -> bool {
    uses_registry(config) || !config.discovery_srv.is_empty()
}

/// The registry of `--discovery-endpoints` will name the members.
pub fn uses_registry(config: &Config) -> bool {
    !config.discovery.endpoints.is_empty()
}

/// The configuration of a first start: with the members that DNS names, or, before the registry is asked, with this member
/// alone and the token by which its id is computed.
///
/// # Errors
/// DNS knows no members, or not this one.
pub async fn prepare(config: &Arc<Config>) -> Result<Arc<Config>, Error> {
    let mut prepared = Config::clone(config);
    if uses_registry(config) {
        let mut urls: Vec<String> = config.advertise_peer_urls.iter().map(ToString::to_string).collect();
        urls.sort();
        let own: Vec<String> = urls.iter().map(|url| format!("{}={url}", config.name)).collect();
        prepared.initial_cluster = own.join(",");
        prepared.initial_cluster_token.clone_from(&config.discovery.token);
    } else if !config.discovery_srv.is_empty() {
        let refused = |why| Error::Config(format!("error setting up initial cluster: {why}"));
        let resolver = dns::resolver().map_err(refused)?;
        prepared.initial_cluster = dns::initial_cluster(config, &resolver).await.map_err(refused)?;
        if prepared.initial_cluster.contains("=https://") {
            return Err(refused(
                "TLS is not supported yet: no records of etcd-server-ssl can be used".into(),
            ));
        }
    } else {
        return Ok(config.clone());
    }
    Ok(Arc::new(prepared))
}

/// The same with all members, once the registry has them all.
///
/// # Errors
/// See [`registry::Error`]; members that share a URL; this member has lost its files and the others know it.
pub async fn complete(prepared: &Arc<Config>, dialer: &Dialer) -> Result<Arc<Config>, Error> {
    if !uses_registry(prepared) {
        return Ok(prepared.clone());
    }
    let alone = initial_members(prepared)?;
    let own = own_member(&alone, prepared)?;
    check_advertised(prepared, own)?;
    log::info!("Bootstrapping cluster using v3 discovery.");
    let joined = registry::join(&prepared.discovery, own.id, &prepared.initial_cluster).await?;
    let complete = with_members(prepared, own, joined.cluster)?;
    if joined.was_listed {
        // Etcd does not ask, and a member that lost its files votes a second time.
        let members = initial_members(&complete)?;
        let others = join::other_urls(&members, &complete.name);
        join::refuse_if_known(&members, &others, &complete, dialer).await?;
    }
    Ok(Arc::new(complete))
}

/// With the cluster that the registry names, of which `own` must still be a member as it was.
fn with_members(prepared: &Config, own: &store::Member, cluster: String) -> Result<Config, Error> {
    let mut urls: Vec<&str> = cluster.split(',').filter_map(|pair| Some(pair.split_once('=')?.1)).collect();
    let listed = urls.len();
    urls.sort_unstable();
    urls.dedup();
    if urls.len() < listed {
        return Err(Error::Config(format!("discovery cluster {cluster} has duplicate url")));
    }
    let complete = Config { initial_cluster: cluster, ..prepared.clone() };
    if own_member(&initial_members(&complete)?, &complete)?.id != own.id {
        return Err(Error::Config(format!(
            "discovery cluster {} has another member named {}: each needs its own --name",
            complete.initial_cluster, own.name
        )));
    }
    Ok(complete)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn alone() -> Arc<Config> {
        let url = |text| crate::config::Url::parse(text).unwrap();
        let mut config = Config { name: "a".into(), ..Config::default() };
        config.discovery.endpoints = vec!["http://registry:2379".into()];
        config.discovery.token = "tok".into();
        config.advertise_peer_urls = vec![url("http://h:2"), url("http://h:1")];
        prepare(&Arc::new(config)).await.unwrap()
    }

    fn with(prepared: &Config, cluster: &str) -> Result<Config, String> {
        let members = initial_members(prepared).unwrap();
        with_members(prepared, &members[0], cluster.into()).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn before_the_registry_is_asked_a_member_is_alone_under_its_token() {
        let config = alone().await;
        assert_eq!(config.initial_cluster, "a=http://h:1,a=http://h:2");
        assert_eq!(config.initial_cluster_token, "tok");
        let untouched = Arc::new(Config::default());
        assert!(Arc::ptr_eq(&prepare(&untouched).await.unwrap(), &untouched));
    }

    #[tokio::test]
    async fn nobody_may_take_the_url_or_the_name_of_another() {
        let config = alone().await;
        let good = "b=http://h:3,a=http://h:1,a=http://h:2";
        assert_eq!(with(&config, good).unwrap().initial_cluster, good);
        let same_url = with(&config, "b=http://h:1,a=http://h:1,a=http://h:2").unwrap_err();
        assert!(same_url.ends_with("has duplicate url"), "{same_url}");
        let same_name = with(&config, "a=http://h:3,a=http://h:1,a=http://h:2").unwrap_err();
        assert!(same_name.contains("has another member named a"), "{same_name}");
    }
}
