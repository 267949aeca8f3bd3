/* idleconn: holds a population of connections that do (almost) nothing. docs/programs.md says what it prints. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "idle.h"
#include "program.h"
#include "target.h"

struct flags {
    struct target_flags target;
    struct idle_settings idle;
    uint64_t connections, handshakes, read_bytes_per_s;
    const char *mode, *uri;
};

static void parse_flags(int argc, char **argv, struct flags *flags)
{
    static const char *const modes[] = {"silent", "heartbeat", "slow-reader", NULL};
    const struct option_spec specs[] = {
        TARGET_OPTIONS(&flags->target),
        {.name = "connections", .kind = OPTION_COUNT, .target = &flags->connections, .value = "N", .low = 1, .high = 1 << 22,
         .help = "how many to hold", .required = true},
        {.name = "mode", .kind = OPTION_CHOICE, .target = &flags->mode, .value = "NAME", .choices = modes,
         .help = "say nothing, send a byte of an endless header each second, or read a large file slowly"},
        {.name = "uri", .kind = OPTION_TEXT, .target = &flags->uri, .value = "URI", .help = "what slow readers ask for"},
        {.name = "read-rate", .kind = OPTION_COUNT, .target = &flags->read_bytes_per_s, .value = "BYTES", .low = 1, .high = 1 << 30,
         .help = "bytes a second that a slow reader takes"},
        {.name = "pace", .kind = OPTION_REAL, .target = &flags->idle.pace_per_s, .value = "R", .low = 1, .high = 1e6,
         .help = "connections a second to begin with; adapts to what the server's backlog stands"},
        {.name = "handshakes", .kind = OPTION_COUNT, .target = &flags->handshakes, .value = "N", .low = 1, .high = 100000,
         .help = "most unanswered SYNs at a time"},
        {.name = "give-up", .kind = OPTION_DURATION, .target = &flags->idle.give_up_ns, .value = "D", .low = 1e6, .high = 86400e9,
         .help = "end with an error when the population is not complete by then"},
        {0},
    };
    options_parse(argc, argv, "holds a population of idle connections", specs);
    target_check(&flags->target, 4096, 2048);
    flags->idle.wanted = (uint32_t)flags->connections;
    flags->idle.most_handshakes = (uint32_t)flags->handshakes;
    flags->idle.read_bytes_per_s = (uint32_t)flags->read_bytes_per_s;
    flags->idle.mode = strcmp(flags->mode, "silent") == 0 ? IDLE_SILENT : strcmp(flags->mode, "heartbeat") == 0 ? IDLE_HEARTBEAT : IDLE_SLOW_READER;
    bool slow = flags->idle.mode == IDLE_SLOW_READER;
    if (slow == !flags->uri)
        options_fail(slow ? "--mode slow-reader needs --uri" : "--uri is for --mode slow-reader only");
    if (flags->uri && (flags->uri[0] != '/' || strpbrk(flags->uri, " \t\r\n")))
        options_fail("--uri: '%s' is not allowed: a path beginning with /, without blanks", flags->uri);
    flags->target.engine.manual_read = slow;
    /* Twice: those that close still need their slots while they are replaced. */
    flags->target.engine.most_connections = 2 * flags->idle.wanted + 1024;
}

/* What slow readers ask for; NULL for the other modes. The caller frees it. */
static char *build_request(struct flags *flags)
{
    char *text;
    if (!flags->uri)
        return NULL;
    int length = asprintf(&text, "GET %s HTTP/1.1\r\nUser-Agent: testbed-idleconn\r\nHost: %s\r\n\r\n", flags->uri, flags->target.target_text);
    if (length < 0)
        options_fail("no memory for the request");
    flags->idle.request = text;
    flags->idle.request_length = (uint32_t)length;
    return text;
}

static int report_summary(struct idle *idle)
{
    struct json json;
    json_line(&json, "summary");
    json_string(&json, "engine", idle->engine->operations->name);
    idle_write(idle, &json);
    json_uint(&json, "minimum_established", idle->minimum_established);
    json_uint(&json, "cpu_us", clock_cpu_ns() / 1000);
    json_object_open(&json, "engine_counters");
    idle->engine->operations->counters(idle->engine, &json);
    json_object_close(&json);
    json_end(&json, STDOUT_FILENO);
    return 0;
}

static int incomplete(const struct idle *idle)
{
    char message[160];
    snprintf(message, sizeof message, "only %u of %u connections stood after %.1f s (%llu refused, %llu reset, %llu timed out)",
             idle->established, idle->settings.wanted, (double)idle->settings.give_up_ns / 1e9, (unsigned long long)idle->refused,
             (unsigned long long)idle->resets, (unsigned long long)idle->timeouts);
    return program_error(message);
}

int main(int argc, char **argv)
{
    struct flags flags = {
        .target = target_defaults(),
        .idle = {.pace_per_s = 8000, .give_up_ns = 10 * NS_PER_S},
        .handshakes = 60,
        .read_bytes_per_s = 512,
        .mode = "silent",
    };
    flags.target.engine.initial_rto_ns = 200 * NS_PER_MS; /* a full backlog drops SYNs: ask again soon */
    flags.target.receive_buffer = 4096;                   /* so that slow readers are slow for the server too */
    parse_flags(argc, argv, &flags);
    char *request = build_request(&flags);
    program_prepare();
    struct idle idle = {.settings = flags.idle};
    char problem[256];
    struct engine *engine = flags.target.operations->open(&flags.target.engine, &idle_events, &idle, problem, sizeof problem);
    if (!engine)
        return program_error(problem);
    if (idle_prepare(&idle, engine, flags.target.engine.most_connections) < 0)
        return program_error("no memory for connections");
    int status = idle_run(&idle, &program_stopped) == 0 ? report_summary(&idle) : errno ? program_error(strerror(errno)) : incomplete(&idle);
    engine->operations->close(engine);
    idle_close(&idle);
    target_free(&flags.target);
    free(request);
    return status;
}
