//! Metrics in Prometheus text, by the names etcd uses.
