/* loadgen: an open-loop HTTP load generator for many emulated hosts. docs/programs.md says what it prints. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "clock.h"
#include "load.h"
#include "program.h"
#include "target.h"
#include "turn.h"

/* The generators of a laptop share a CPU: eight turns of the usual 3 ms would be as late as a request may be. */
#define TURN_NS 100000

static struct load load; /* static: its histograms are megabytes */

struct flags {
    struct target_flags target;
    const char *uri, *sessions;
    uint64_t start_at, most_in_flight;
    bool start_is_told; /* on stdin, after `ready` */
    uint64_t turn_ns;
};

static const char *parse_arrival(const char *text, void *target)
{
    const struct arrival **arrival = target;
    *arrival = arrival_find(text);
    return *arrival ? NULL : arrival_names();
}

/* Of at most 18 digits: the clock needs that many in 30 years. */
static bool read_time(const char *text, uint64_t *ns)
{
    size_t digits = strspn(text, "0123456789");
    *ns = strtoull(text, NULL, 10);
    return digits > 0 && digits <= 18 && !text[digits];
}

static const char *parse_start(const char *text, void *target)
{
    struct flags *flags = target;
    flags->start_is_told = strcmp(text, "stdin") == 0;
    return flags->start_is_told || read_time(text, &flags->start_at) ? NULL : "nanoseconds of CLOCK_MONOTONIC, or stdin";
}

static const char *parse_crc(const char *text, void *target)
{
    struct load_settings *settings = target;
    char *rest;
    unsigned long long value = strtoull(text, &rest, 16);
    if (*rest || strspn(text, "0123456789abcdefABCDEF") != strlen(text) || !*text || value > UINT32_MAX)
        return "eight hexadecimal digits, as printf '%08x' of Python's zlib.crc32(body)";
    settings->check_crc = true;
    settings->body_crc = (uint32_t)value;
    return NULL;
}

static void parse_flags(int argc, char **argv, struct flags *flags)
{
    struct load_settings *settings = &load.settings;
    const struct option_spec specs[] = {
        TARGET_OPTIONS(&flags->target),
        {.name = "uri", .kind = OPTION_TEXT, .target = &flags->uri, .value = "URI", .help = "asked for once a connection"},
        {.name = "sessions", .kind = OPTION_TEXT, .target = &flags->sessions, .value = "FILE",
         .help = "a trace of sessions in httperf's wsesslog form, used in order and again from its start; instead of --uri"},
        {.name = "rate", .kind = OPTION_REAL, .target = &settings->rate_per_s, .value = "R", .low = 0.001, .high = 1e7,
         .help = "session starts a second", .required = true},
        {.name = "arrival", .kind = OPTION_CUSTOM, .target = &settings->arrival, .value = "NAME", .parse = parse_arrival,
         .help = "arrival process: deterministic, exponential or uniform [deterministic]"},
        {.name = "seed", .kind = OPTION_COUNT, .target = &settings->seed, .value = "N", .help = "of the arrival process"},
        {.name = "start-at", .kind = OPTION_CUSTOM, .target = flags, .value = "NS", .parse = parse_start,
         .help = "CLOCK_MONOTONIC of the warm-up's begin; 0: at once; stdin: a line there tells it, after `ready`"},
        {.name = "warm-up", .kind = OPTION_DURATION, .target = &settings->warm_up_ns, .value = "D", .high = 86400e9,
         .help = "load before the measurement window"},
        {.name = "window", .kind = OPTION_DURATION, .target = &settings->window_ns, .value = "D", .low = 1e6, .high = 86400e9,
         .help = "the measurement window; no start after it"},
        {.name = "timeout", .kind = OPTION_DURATION, .target = &settings->timeout_ns, .value = "D", .low = 1e6, .high = 86400e9,
         .help = "give a session up after this time without a sign of life from the server; also bounds the end of the run"},
        {.name = "interval", .kind = OPTION_DURATION, .target = &settings->interval_ns, .value = "D", .low = 10e6, .high = 86400e9,
         .help = "between two interval lines"},
        {.name = "max-in-flight", .kind = OPTION_COUNT, .target = &flags->most_in_flight, .value = "N", .high = 1 << 24,
         .help = "most connections at a time, those that are closing included; 0: what rate and time-out can need"},
        {.name = "body-crc32", .kind = OPTION_CUSTOM, .target = settings, .value = "HEX", .parse = parse_crc,
         .help = "every body must have this CRC-32, or it is an error of class other"},
        {0},
    };
    options_parse(argc, argv, "open-loop HTTP load from many emulated hosts", specs);
    if (!flags->uri == !flags->sessions)
        options_fail("give one of --uri and --sessions");
    if (flags->uri && (flags->uri[0] != '/' || strpbrk(flags->uri, " \t\r\n") || strlen(flags->uri) > 1024))
        options_fail("--uri: '%s' is not allowed: a path beginning with /, without blanks, up to 1024 bytes", flags->uri);
    /* One URI is mostly a small one, asked for often: many small slots. Sessions bring replies in frames of many segments. */
    if (flags->uri)
        target_check(&flags->target, 16384, 2048);
    else
        target_check(&flags->target, 4096, 16384);
}

/* Both the sessions on their way and the connections that are still closing. */
static uint32_t most_connections(const struct flags *flags)
{
    if (flags->most_in_flight)
        return (uint32_t)flags->most_in_flight;
    double needed = load.settings.rate_per_s * (2e-9 * (double)load.settings.timeout_ns + 2) + 4096;
    return needed < 1 << 22 ? (uint32_t)needed : 1 << 22;
}

static void report_ready(const struct flags *flags)
{
    struct json json;
    json_line(&json, "ready");
    json_string(&json, "engine", flags->target.operations->name);
    json_uint(&json, "pid", (uint64_t)getpid());
    json_uint(&json, "now_ns", clock_now_ns());
    json_uint(&json, "hosts", flags->target.engine.host_count);
    json_end(&json, STDOUT_FILENO);
}

/* Reads the time of the start from stdin and says when it came. Returns false if none will come; a signal ends the wait. */
static bool hear_start(struct flags *flags)
{
    char line[32];
    size_t length = 0;
    while (!program_stopped) {
        ssize_t got = read(STDIN_FILENO, line + length, sizeof line - 1 - length);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        length += (size_t)got;
        line[length] = '\0';
        char *end = strchr(line, '\n');
        if (!end)
            continue;
        *end = '\0';
        if (!read_time(line, &flags->start_at))
            return false;
        struct json json;
        json_line(&json, "told");
        json_uint(&json, "now_ns", clock_now_ns());
        json_uint(&json, "start_at_ns", flags->start_at);
        json_end(&json, STDOUT_FILENO);
        return true;
    }
    return true;
}

/* Returns the exit status: 1 when the books do not balance. */
static int report_summary(const struct flags *flags)
{
    struct json json;
    const struct tally *whole = &load.whole, *inside = &load.window.intended;
    json_line(&json, "summary");
    json_string(&json, "engine", flags->target.operations->name);
    json_uint(&json, "now_ns", clock_now_ns());
    json_real(&json, "offered_per_s", load.settings.rate_per_s);
    json_uint(&json, "attempted", whole->attempted);
    json_uint(&json, "completed", whole->completed);
    json_uint(&json, "requests", whole->requests);
    json_uint(&json, "replies", whole->replies);
    tally_write_errors(&json, "errors", whole);
    other_reasons_write(&json, load.other);
    window_write(&json, &load.window, (double)load.settings.window_ns / 1e9);
    json_uint(&json, "cpu_us", clock_cpu_ns() / 1000);
    json_string(&json, "priority", getpriority(PRIO_PROCESS, 0) < 0 ? "high" : "normal");
    json_uint(&json, "turn_us", flags->turn_ns / NS_PER_US);
    json_object_open(&json, "engine_counters");
    load.engine->operations->counters(load.engine, &json);
    json_object_close(&json);
    json_end(&json, STDOUT_FILENO);
    if (whole->attempted != whole->completed + tally_errors(whole) || inside->attempted != inside->completed + tally_errors(inside))
        return program_error("attempted is not completed plus errors: a fault in loadgen");
    return 0;
}

int main(int argc, char **argv)
{
    struct flags flags = {.target = target_defaults()};
    load.settings = (struct load_settings){
        .arrival = arrival_find("deterministic"), .seed = 1, .warm_up_ns = NS_PER_S, .window_ns = 5 * NS_PER_S, .timeout_ns = 10 * NS_PER_S,
        .interval_ns = NS_PER_S};
    parse_flags(argc, argv, &flags);
    if (flags.uri)
        batch_add_request(session_add_batch(sessions_add(&load.sessions), 0),
                          &(struct request){.method = "GET", .uri = flags.uri, .host = flags.target.target_text});
    else
        sessions_read_trace(&load.sessions, flags.sessions, flags.target.target_text);
    load.settings.most_in_flight = flags.target.engine.most_connections = most_connections(&flags);
    program_prepare();
    flags.turn_ns = turn_shorten(TURN_NS);
    char problem[256];
    struct engine *engine = flags.target.operations->open(&flags.target.engine, &load_events, &load, problem, sizeof problem);
    if (!engine)
        return program_error(problem);
    if (load_prepare(&load, engine) < 0)
        return program_error("no memory for sessions");
    report_ready(&flags);
    if (flags.start_is_told && !hear_start(&flags))
        return program_error("stdin ended, or told no time in nanoseconds, before the start");
    load.settings.start_at_ns = flags.start_at;
    int status = load_run(&load, &program_stopped) < 0 ? program_error(strerror(errno)) : report_summary(&flags);
    engine->operations->close(engine);
    load_close(&load);
    target_free(&flags.target);
    return status;
}
