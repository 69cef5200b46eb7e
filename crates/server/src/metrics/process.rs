//! What the system says about this process, read from /proc when the page is asked for.
use std::fs;

use super::Metrics;

/// Bytes of a page and ticks of a second, as Linux has them on every machine we build for.
const PAGE_BYTES: f64 = 4096.0;
const TICKS_PER_SECOND: f64 = 100.0;

/// Brings the process's own metrics up to date. What cannot be read stays as it is.
pub(super) fn refresh(metrics: &Metrics) {
    if let Some(stat) = stat() {
        metrics.process_cpu_seconds_total.set((stat.user_ticks + stat.system_ticks) / TICKS_PER_SECOND);
        metrics.process_virtual_memory_bytes.set(stat.virtual_bytes);
        let resident = stat.resident_pages * PAGE_BYTES;
        metrics.process_resident_memory_bytes.set(resident);
        metrics.process_start_time_seconds.set(boot_time() + stat.start_ticks / TICKS_PER_SECOND);
        metrics.go_threads.set(stat.threads);
        // Stand-ins for readers that expect a Go program.
        metrics.go_goroutines.set(stat.threads);
        for gauge in [
            &metrics.go_memstats_alloc_bytes,
            &metrics.go_memstats_heap_alloc_bytes,
            &metrics.go_memstats_heap_inuse_bytes,
            &metrics.go_memstats_heap_sys_bytes,
            &metrics.go_memstats_sys_bytes,
        ] {
            gauge.set(resident);
        }
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        let open = i64::try_from(open.count().saturating_sub(1)).unwrap_or(0);
        metrics.process_open_fds.set_int(open);
        metrics.os_fd_used.set_int(open);
    }
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    if let Some(limit) = limit(&limits, "Max open files") {
        metrics.process_max_fds.set(limit);
        metrics.os_fd_limit.set(limit);
    }
    if let Some(limit) = limit(&limits, "Max address space") {
        metrics.process_virtual_memory_max_bytes.set(limit);
    }
    if let Some((received, sent)) = octets(&fs::read_to_string("/proc/self/net/netstat").unwrap_or_default())
    {
        metrics.process_network_receive_bytes_total.set(received);
        metrics.process_network_transmit_bytes_total.set(sent);
    }
}

struct Stat {
    user_ticks: f64,
    system_ticks: f64,
    threads: f64,
    start_ticks: f64,
    virtual_bytes: f64,
    resident_pages: f64,
}

fn stat() -> Option<Stat> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    // The name in parentheses may hold anything; fields are counted behind it, from the third on.
    let fields: Vec<f64> =
        text.rsplit_once(')')?.1.split_whitespace().skip(1).map(|f| f.parse().unwrap_or(0.0)).collect();
    let field = |number: usize| fields.get(number - 4).copied();
    Some(Stat {
        user_ticks: field(14)?,
        system_ticks: field(15)?,
        threads: field(20)?,
        start_ticks: field(22)?,
        virtual_bytes: field(23)?,
        resident_pages: field(24)?,
    })
}

fn boot_time() -> f64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    text.lines().find_map(|l| l.strip_prefix("btime ")?.trim().parse().ok()).unwrap_or(0.0)
}

/// The soft limit in a row of /proc/self/limits.
#[allow(clippy::cast_precision_loss)]
fn limit(text: &str, row: &str) -> Option<f64> {
    let rest = text.lines().find_map(|l| l.strip_prefix(row))?;
    match rest.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX as f64),
        number => number.parse().ok(),
    }
}

/// Bytes received and sent, from the pair of lines that begin with `IpExt:`.
fn octets(text: &str) -> Option<(u64, u64)> {
    let mut lines = text.lines().filter_map(|l| l.strip_prefix("IpExt:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let value = |name: &str| {
        let at = names.split_whitespace().position(|n| n == name)?;
        values.split_whitespace().nth(at)?.parse().ok()
    };
    Some((value("InOctets")?, value("OutOctets")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_and_traffic_are_read_from_their_tables() {
        let limits = "Limit  Soft Hard Units\nMax open files            1024     4096    files\nMax address space         unlimited            unlimited            bytes\n";
        assert_eq!(limit(limits, "Max open files"), Some(1024.0));
        assert_eq!(limit(limits, "Max address space"), Some(1.8446744073709552e19));
        assert_eq!(
            octets("TcpExt: a\nTcpExt: 1\nIpExt: X InOctets OutOctets\nIpExt: 1 20 30\n"),
            Some((20, 30))
        );
    }

    #[test]
    fn this_process_has_memory_threads_and_a_start() {
        let stat = stat().unwrap();
        assert!(stat.resident_pages > 100.0 && stat.threads >= 1.0 && stat.start_ticks > 0.0);
        assert!(boot_time() > 1e9);
    }
}
