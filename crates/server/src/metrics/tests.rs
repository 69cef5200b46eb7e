//! The page as a whole.
use super::value::number;
use super::*;

#[test]
fn numbers_look_as_in_go() {
    let rows = [
        (0.0, "0"),
        (1.0, "1"),
        (-1.0, "-1"),
        (20480.0, "20480"),
        (102_400.0, "102400"),
        (819_200.0, "819200"),
        (1_048_576.0, "1.048576e+06"),
        (2_147_483_648.0, "2.147483648e+09"),
        (0.0001, "0.0001"),
        (5.469e-6, "5.469e-06"),
        (0.000_136_797, "0.000136797"),
        (1.8446744073709552e19, "1.8446744073709552e+19"),
        (f64::INFINITY, "+Inf"),
    ];
    for (value, text) in rows {
        assert_eq!(number(value), text);
    }
}

#[test]
fn a_histogram_counts_upwards_and_ends_with_sum_and_count() {
    let metrics = Metrics::new();
    for value in [0.001, 0.0011, 100.0] {
        metrics.etcd_disk_wal_fsync_duration_seconds.observe(value);
    }
    let text = metrics.text();
    let name = "etcd_disk_wal_fsync_duration_seconds";
    let start = text.find(&format!("# HELP {name} ")).unwrap();
    let lines: Vec<_> = text[start..].lines().skip(1).take_while(|l| !l.starts_with("# HELP")).collect();
    assert_eq!(lines[0], format!("# TYPE {name} histogram"));
    assert_eq!(lines[1], format!("{name}_bucket{{le=\"0.001\"}} 1"), "a bound belongs to its bucket");
    assert_eq!(lines[2], format!("{name}_bucket{{le=\"0.002\"}} 2"));
    assert_eq!(lines[14], format!("{name}_bucket{{le=\"8.192\"}} 2"));
    assert_eq!(lines[15], format!("{name}_bucket{{le=\"+Inf\"}} 3"));
    assert_eq!(lines[16], format!("{name}_sum 100.0021"));
    assert_eq!(lines[17], format!("{name}_count 3"));
}

#[test]
fn families_appear_with_their_first_member_and_escape_label_values() {
    let metrics = Metrics::new();
    assert!(!metrics.text().contains("etcd_server_client_requests_total"));
    metrics.etcd_server_client_requests_total.with(&["a\"b\\", "unary"]).add(2);
    let line = "etcd_server_client_requests_total{client_api_version=\"a\\\"b\\\\\",type=\"unary\"} 2\n";
    assert!(metrics.text().contains(line), "{}", metrics.text());
    metrics.etcd_server_apply_duration_seconds.with(&["Put", "true", "v3"]).observe(1.0);
    assert!(metrics.text().contains("_bucket{op=\"Put\",success=\"true\",version=\"v3\",le=\"0.0001\"} 0\n"));
}

#[test]
fn every_rpc_and_code_has_a_line_before_the_first_call() {
    let metrics = Metrics::new();
    metrics.prepare_grpc(false);
    let text = metrics.text();
    assert!(text.contains(
        "grpc_server_handled_total{grpc_code=\"OK\",grpc_method=\"Put\",grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"} 0\n"
    ));
    let lines = |prefix: &str| text.lines().filter(|l| l.starts_with(prefix)).count();
    assert_eq!(lines("grpc_server_handled_total{"), METHODS.len() * CODES.len());
    assert_eq!(lines("grpc_server_handling_seconds"), 0);
    metrics.prepare_grpc(true);
    assert!(metrics.text().contains("grpc_server_handling_seconds_bucket{"));
}

/// Name, type, labels and buckets of every metric of 3.7, as the page shows them.
fn ours() -> Vec<String> {
    let metrics = Metrics::new();
    metrics.prepare_grpc(true);
    let mut rows = Vec::new();
    for (head, metric) in metrics.all() {
        let mut page = String::new();
        metric.collect(head.name, &mut page);
        let bounds: Vec<_> = page
            .lines()
            .filter_map(|l| {
                Some(l.split_once("_bucket{")?.1.split_once("le=\"")?.1.split_once('"')?.0.to_string())
            })
            .take_while(|b| b != "+Inf")
            .collect();
        rows.push(format!("{}\t{}\t{}", head.name, head.kind, bounds.join(" ")));
    }
    rows
}

#[test]
fn the_list_is_the_surface_table_of_3_7() {
    let table = include_str!("../../testdata/surface/metrics.tsv");
    let mut wanted: Vec<String> = table
        .lines()
        .skip(1)
        .map(|row| {
            let cells: Vec<_> = row.split('\t').collect();
            let [name, kind, labels, buckets] = cells[..] else { panic!("{row}") };
            // Labelled families show buckets with their first member only; the handling times have one here.
            let shown = labels.is_empty() || name == "grpc_server_handling_seconds";
            format!("{name}\t{kind}\t{}", if shown { bounds(buckets) } else { String::new() })
        })
        .collect();
    wanted.sort();
    let mut ours = ours();
    ours.sort();
    let only = |a: &[String], b: &[String]| a.iter().filter(|r| !b.contains(r)).cloned().collect::<Vec<_>>();
    assert_eq!(only(&ours, &wanted), [""; 0], "ours alone");
    assert_eq!(only(&wanted, &ours), [""; 0], "the table's alone");
}

/// `ExponentialBuckets(a, f, n)` written out.
fn bounds(text: &str) -> String {
    let Some(inner) = text.strip_prefix("ExponentialBuckets(").and_then(|t| t.strip_suffix(')')) else {
        return if text.is_empty() {
            String::new()
        } else {
            "0.005 0.01 0.025 0.05 0.1 0.25 0.5 1 2.5 5 10".into()
        };
    };
    let parts: Vec<f64> = inner.split(", ").map(|p| p.parse().unwrap()).collect();
    let mut bound = parts[0];
    let mut all = Vec::new();
    for _ in 0..parts[2] as usize {
        all.push(number(bound));
        bound *= parts[1];
    }
    all.join(" ")
}

#[test]
fn labels_are_those_of_the_table() {
    let source = include_str!("names.rs");
    for row in include_str!("../../testdata/surface/metrics.tsv").lines().skip(1) {
        let cells: Vec<_> = row.split('\t').collect();
        if cells[2].is_empty() || cells[1] == "summary" {
            continue;
        }
        let labels: Vec<_> = cells[2].split(',').map(|l| format!("\"{l}\"")).collect();
        let line = source.lines().find(|l| l.trim_start().starts_with(&format!("{}: ", cells[0]))).unwrap();
        assert!(line.contains(&format!("&[{}]", labels.join(", "))), "{line}");
    }
}

#[test]
fn the_process_describes_itself() {
    let text = Metrics::new().text();
    for name in
        ["process_resident_memory_bytes", "process_open_fds", "process_max_fds", "process_start_time_seconds"]
    {
        let line = text.lines().find(|l| l.starts_with(&format!("{name} "))).unwrap();
        assert_ne!(line, format!("{name} 0"));
    }
}
