#include "report.h"

#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "accounting.h"
#include "cache.h"
#include "clock.h"
#include "listener.h"

/* A reader that is gone is no reason to fail: the line is then nobody's. */
static void send_line(struct json *json)
{
    (void)json_end(json, STDOUT_FILENO);
}

void report_ready(const struct settings *settings)
{
    struct json json;
    json_line(&json, "ready");
    json_string(&json, "mechanism", settings->mechanism->name);
    json_int(&json, "pid", getpid());
    json_uint(&json, "port", listeners_port());
    json_string(&json, "bind", settings->bind_text);
    json_uint(&json, "now_ns", clock_now_ns());
    json_uint(&json, "cached_files", cache_file_count());
    json_uint(&json, "cached_bytes", cache_byte_count());
    json_uint(&json, "max_connections", settings->max_connections);
    send_line(&json);
}

void report_interval(void)
{
    struct json json;
    json_line(&json, "interval");
    json_uint(&json, "now_ns", clock_now_ns());
    json_uint(&json, "open_connections", accounting.open_connections);
    json_uint(&json, "replies", accounting.replies);
    send_line(&json);
}

static uint64_t microseconds(struct timeval time)
{
    return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_usec;
}

/* Not ru_maxrss: that keeps the peak of the process that started this one. */
static uint64_t resident_peak_kib(void)
{
    unsigned long long kib = 0;
    char line[128];
    FILE *status = fopen("/proc/self/status", "re");
    while (status && fgets(line, sizeof line, status))
        if (sscanf(line, "VmHWM: %llu kB", &kib) == 1)
            break;
    if (status)
        fclose(status);
    return kib;
}

/* For how long it stood ready without a CPU: the second number (kernel: sched-stats.rst). False where that is not known. */
static bool run_delay_ns(unsigned long long *ns)
{
    FILE *statistics = fopen("/proc/self/schedstat", "re");
    bool known = statistics && fscanf(statistics, "%*u %llu", ns) == 1;
    if (statistics)
        fclose(statistics);
    return known;
}

static void write_usage(struct json *json)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    json_uint(json, "cpu_user_us", microseconds(usage.ru_utime));
    json_uint(json, "cpu_system_us", microseconds(usage.ru_stime));
    json_int(json, "context_switches_voluntary", usage.ru_nvcsw);
    json_int(json, "context_switches_involuntary", usage.ru_nivcsw);
    unsigned long long delay_ns;
    if (run_delay_ns(&delay_ns))
        json_uint(json, "run_delay_us", delay_ns / 1000);
    json_uint(json, "max_resident_kib", resident_peak_kib());
}

void report_counters(const struct settings *settings, const char *type)
{
    struct json json;
    json_line(&json, type);
    json_string(&json, "mechanism", settings->mechanism->name);
    json_uint(&json, "now_ns", clock_now_ns());
    json_uint(&json, "open_connections", accounting.open_connections);
    json_uint(&json, "accepted", accounting.accepted);
    json_uint(&json, "replies", accounting.replies);
    json_uint(&json, "closed_by_peer", accounting.closed_by_peer);
    json_uint(&json, "closed_by_server", accounting.closed_by_server);
    json_uint(&json, "resets", accounting.resets);
    json_uint(&json, "bad_requests", accounting.bad_requests);
    write_usage(&json);
    accounting_write_calls(&json);
    json_uint(&json, "waits", accounting.waits);
    json_uint(&json, "events", accounting.events);
    json_uint(&json, "useless_waits", accounting.useless_waits);
    json_uint(&json, "useless_events", accounting.useless_events);
    json_uint(&json, "stale_events", accounting.stale_events);
    json_uint(&json, "interest_changes", accounting.interest_changes);
    json_uint(&json, "listener_parked", accounting.listener_parked);
    json_object_open(&json, "accept_errors");
    json_uint(&json, "emfile", accounting.accept_errors.emfile);
    json_uint(&json, "connaborted", accounting.accept_errors.connaborted);
    json_uint(&json, "nobufs", accounting.accept_errors.nobufs);
    json_uint(&json, "other", accounting.accept_errors.other);
    json_object_close(&json);
    accounting_write_histograms(&json);
    send_line(&json);
}

void report_error(const char *message)
{
    struct json json;
    json_line(&json, "error");
    json_string(&json, "message", message);
    send_line(&json);
}
