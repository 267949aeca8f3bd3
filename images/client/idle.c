#include "idle.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"

enum {
    TICKS_PER_S = 100,           /* a hundredth of the population beats or reads in each */
    MOST_BEATS = 4000,           /* more would be longer than servers allow a header to be */
    LEAST_PACE = 200,
    PACE_STEP = 200,             /* a tick without loss */
    FASTEST_PACE = 40000,
    MOST_TOKENS = 32,            /* after a sleep that was too long, no more than this at once */
};

#define TICK_NS (NS_PER_S / TICKS_PER_S)

static char heartbeat[MOST_BEATS];

int idle_prepare(struct idle *idle, struct engine *engine, uint32_t slots)
{
    static const char begin[] = "GET / HTTP/1.1\r\nX-Idle: ";
    memset(heartbeat, 'i', sizeof heartbeat);
    memcpy(heartbeat, begin, sizeof begin - 1);
    idle->engine = engine;
    idle->slots = slots;
    idle->connections = calloc(slots, sizeof *idle->connections);
    return idle->connections ? 0 : -1;
}

void idle_close(struct idle *idle)
{
    for (uint32_t i = 0; i < idle->slots; i++)
        http_reply_drop(&idle->connections[i].reply);
    free(idle->connections);
}

/* Takes a connection off the books; what happened to it has been counted. */
static void lose(struct idle *idle, uint32_t connection)
{
    struct idle_connection *self = &idle->connections[connection];
    if (self->state == IDLE_CONNECTING) {
        idle->handshakes--;
    } else {
        idle->established--;
        if (idle->established < idle->minimum_established)
            idle->minimum_established = idle->established;
    }
    http_reply_drop(&self->reply);
    self->state = IDLE_NONE;
}

static void on_connected(void *owner, uint32_t connection)
{
    struct idle *idle = owner;
    idle->engine->operations->confirm(idle->engine, connection);
}

static void on_confirmed(void *owner, uint32_t connection)
{
    struct idle *idle = owner;
    idle->connections[connection].state = IDLE_ESTABLISHED;
    idle->handshakes--;
    idle->established++;
    idle->reestablished += idle->ready;
    if (idle->settings.mode == IDLE_SLOW_READER) {
        http_reply_start(&idle->connections[connection].reply, false, false);
        idle->engine->operations->send(idle->engine, connection, idle->settings.request, idle->settings.request_length);
    }
}

/* A slow reader asks again when it has read everything; the other modes asked for nothing and ignore what comes. */
static void on_received(void *owner, uint32_t connection, const uint8_t *bytes, size_t length)
{
    struct idle *idle = owner;
    if (idle->settings.mode != IDLE_SLOW_READER)
        return;
    struct http_reply *reply = &idle->connections[connection].reply;
    while (length) {
        size_t used;
        enum http_result result = http_reply_feed(reply, bytes, length, &used);
        if (result == HTTP_BAD) {
            idle->closed_by_peer++;
            lose(idle, connection);
            idle->engine->operations->abort(idle->engine, connection);
            return;
        }
        bytes += used;
        length -= used;
        if (result != HTTP_DONE)
            continue;
        http_reply_start(reply, false, false);
        idle->engine->operations->send(idle->engine, connection, idle->settings.request, idle->settings.request_length);
    }
}

static void on_peer_closed(void *owner, uint32_t connection)
{
    struct idle *idle = owner;
    idle->closed_by_peer++;
    lose(idle, connection);
    idle->engine->operations->finish(idle->engine, connection);
}

static void slow_down(struct idle *idle)
{
    idle->pace_per_s /= 2;
    if (idle->pace_per_s < LEAST_PACE)
        idle->pace_per_s = LEAST_PACE;
}

static void on_failed(void *owner, uint32_t connection, enum engine_error error)
{
    struct idle *idle = owner;
    idle->refused += error == ENGINE_REFUSED;
    idle->resets += error == ENGINE_RESET;
    idle->timeouts += error == ENGINE_TIMED_OUT;
    if (error != ENGINE_REFUSED && error != ENGINE_RESET && error != ENGINE_TIMED_OUT)
        idle->unavailable++;
    lose(idle, connection);
}

const struct engine_events idle_events = {
    .connected = on_connected,
    .confirmed = on_confirmed,
    .received = on_received,
    .peer_closed = on_peer_closed,
    .failed = on_failed,
};

static uint32_t missing(const struct idle *idle)
{
    return idle->settings.wanted - idle->established - idle->handshakes;
}

/* Starts what the pace, and the limit of unanswered handshakes, allow by now. */
static void fill(struct idle *idle)
{
    uint64_t now = idle->engine->now_ns;
    idle->tokens += (double)(now - idle->paced_until_ns) * idle->pace_per_s / 1e9;
    idle->paced_until_ns = now;
    if (idle->tokens > MOST_TOKENS)
        idle->tokens = MOST_TOKENS;
    while (missing(idle) && idle->tokens >= 1 && idle->handshakes < idle->settings.most_handshakes) {
        uint32_t connection;
        idle->tokens -= 1;
        if (idle->engine->operations->connect(idle->engine, &connection) != ENGINE_OK) {
            idle->unavailable++;
            slow_down(idle);
            return;
        }
        idle->connections[connection] = (struct idle_connection){.state = IDLE_CONNECTING};
        idle->handshakes++;
    }
}

static void adapt_pace(struct idle *idle)
{
    uint64_t losses = idle->engine->operations->losses(idle->engine) + idle->refused + idle->timeouts;
    if (losses > idle->losses_seen)
        slow_down(idle);
    else if (idle->pace_per_s < FASTEST_PACE)
        idle->pace_per_s += PACE_STEP;
    idle->losses_seen = losses;
}

static void beat(struct idle *idle, uint32_t connection)
{
    struct idle_connection *self = &idle->connections[connection];
    if (self->state != IDLE_ESTABLISHED)
        return;
    if (idle->settings.mode == IDLE_SLOW_READER)
        idle->engine->operations->read(idle->engine, connection, idle->settings.read_bytes_per_s);
    else if (self->beats < MOST_BEATS)
        idle->engine->operations->send(idle->engine, connection, heartbeat + self->beats++, 1);
}

/* Every 10 ms: the pace, and a hundredth of the population's own activity. */
static void tick(struct idle *idle)
{
    adapt_pace(idle);
    if (idle->settings.mode == IDLE_SILENT)
        return;
    for (uint32_t share = (idle->slots + TICKS_PER_S - 1) / TICKS_PER_S; share; share--) {
        beat(idle, idle->sweep);
        if (++idle->sweep == idle->slots)
            idle->sweep = 0;
    }
}

static bool busy(const struct idle *idle)
{
    return idle->handshakes || missing(idle) || idle->settings.mode != IDLE_SILENT;
}

void idle_write(const struct idle *idle, struct json *json)
{
    json_uint(json, "now_ns", idle->engine->now_ns);
    json_uint(json, "established", idle->established);
    json_uint(json, "wanted", idle->settings.wanted);
    json_uint(json, "reestablished", idle->reestablished);
    json_uint(json, "refused", idle->refused);
    json_uint(json, "resets", idle->resets);
    json_uint(json, "timeouts", idle->timeouts);
    json_uint(json, "closed_by_peer", idle->closed_by_peer);
    json_uint(json, "unavailable", idle->unavailable);
}

static void report(struct idle *idle)
{
    struct json json;
    if (!idle->ready && idle->established == idle->settings.wanted) {
        idle->ready = true;
        idle->ready_ns = idle->engine->now_ns;
        idle->minimum_established = idle->established;
        json_line(&json, "ready");
        json_string(&json, "engine", idle->engine->operations->name);
        json_uint(&json, "pid", (uint64_t)getpid());
        json_uint(&json, "now_ns", idle->ready_ns);
        json_uint(&json, "established", idle->established);
        json_real(&json, "elapsed_ms", (double)(idle->ready_ns - idle->begin_ns) / 1e6);
        json_end(&json, STDOUT_FILENO);
    }
    if (idle->engine->now_ns < idle->next_interval_ns)
        return;
    json_line(&json, "interval");
    idle_write(idle, &json);
    json_end(&json, STDOUT_FILENO);
    idle->next_interval_ns += ((idle->engine->now_ns - idle->next_interval_ns) / NS_PER_S + 1) * NS_PER_S;
}

static uint64_t next_deadline(const struct idle *idle)
{
    uint64_t deadline = idle->next_interval_ns;
    if (busy(idle) && idle->next_tick_ns < deadline)
        deadline = idle->next_tick_ns;
    if (missing(idle) && idle->handshakes < idle->settings.most_handshakes) {
        uint64_t token = idle->paced_until_ns + (uint64_t)((1 - idle->tokens) / idle->pace_per_s * 1e9) + 1;
        deadline = token < deadline ? token : deadline;
    }
    return deadline;
}

int idle_run(struct idle *idle, const volatile sig_atomic_t *stop)
{
    uint64_t now = clock_now_ns();
    idle->begin_ns = idle->paced_until_ns = now;
    idle->next_interval_ns = now + NS_PER_S;
    idle->next_tick_ns = now + TICK_NS;
    idle->pace_per_s = idle->settings.pace_per_s;
    while (!*stop) {
        idle->engine->now_ns = clock_now_ns();
        if (idle->engine->now_ns >= idle->next_tick_ns) {
            idle->next_tick_ns = idle->engine->now_ns + TICK_NS;
            tick(idle);
        }
        fill(idle);
        report(idle);
        if (!idle->ready && idle->engine->now_ns - idle->begin_ns >= idle->settings.give_up_ns) {
            errno = 0;
            return -1;
        }
        if (idle->engine->operations->wait(idle->engine, next_deadline(idle)) < 0 && errno != EINTR)
            return -1;
    }
    return 0;
}
