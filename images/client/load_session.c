/* One session from its start to its end, as the engine's events and the clock drive it. */
#include "clock.h"
#include "load.h"

void load_disarm(struct load *load, uint32_t connection)
{
    struct run *run = &load->runs[connection];
    if (!run->armed)
        return;
    run->armed = false;
    if (run->older == NO_RUN)
        load->oldest = run->newer;
    else
        load->runs[run->older].newer = run->newer;
    if (run->newer == NO_RUN)
        load->newest = run->older;
    else
        load->runs[run->newer].older = run->older;
}

/* The time-out begins anew: the server showed a sign of life, or we asked for one. */
static void arm(struct load *load, uint32_t connection)
{
    struct run *run = &load->runs[connection];
    run->deadline_ns = load->engine->now_ns + load->settings.timeout_ns;
    if (load->newest == connection)
        return;
    load_disarm(load, connection);
    run->armed = true;
    run->newer = NO_RUN;
    run->older = load->newest;
    if (load->newest == NO_RUN)
        load->oldest = connection;
    else
        load->runs[load->newest].newer = connection;
    load->newest = connection;
}

static bool in_window(const struct load *load, uint64_t at_ns)
{
    return at_ns >= load->window_begin_ns && at_ns < load->window_end_ns;
}

static void count_error(struct load *load, bool intended_inside, enum error_class error)
{
    load->whole.errors[error]++;
    if (intended_inside)
        load->window.intended.errors[error]++;
}

static uint32_t requests_of(const struct session *session)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < session->count; i++)
        sum += session->batches[i].requests;
    return sum;
}

void load_start_one(struct load *load, uint64_t intended_ns, uint64_t now_ns)
{
    bool inside = in_window(load, intended_ns);
    uint32_t connection = NO_RUN;
    load->whole.attempted++;
    load->window.intended.attempted += inside;
    const struct session *session = &load->sessions.sessions[load->next_session];
    if (++load->next_session == load->sessions.count)
        load->next_session = 0;
    enum engine_error error = ENGINE_TABLE_FULL;
    if (load->in_flight < load->settings.most_in_flight)
        error = load->engine->operations->connect(load->engine, &connection);
    if (error != ENGINE_OK) {
        count_error(load, inside, error_class_of(error));
        load->other[OTHER_ENGINE] += error_class_of(error) == ERROR_OTHER;
        return;
    }
    if (in_window(load, now_ns)) {
        load->window.sent++;
        load->window.wanted += requests_of(session);
    }
    if (inside) {
        load->window.started++;
        histogram_record(&load->window.lateness, now_ns - intended_ns);
    }
    struct run *run = &load->runs[connection];
    uint32_t generation = run->generation + 1;
    *run = (struct run){
        .intended_ns = intended_ns, .actual_ns = now_ns, .started_ns = now_ns, .session = session, .generation = generation, .live = true, .in_window = inside};
    load->in_flight++;
    arm(load, connection);
}

static bool next_is_head(const struct run *run)
{
    const struct batch *batch = &run->session->batches[run->batch];
    return batch->heads[batch->requests - run->replies_left];
}

void load_send_batch(struct load *load, uint32_t connection, uint64_t intended_ns)
{
    struct run *run = &load->runs[connection];
    const struct batch *batch = &run->session->batches[run->batch];
    if (run->batch > 0) { /* the first one is timed from the session's start */
        run->intended_ns = intended_ns;
        run->actual_ns = load->engine->now_ns;
    }
    run->thinking = false;
    run->replies_left = batch->requests;
    load->whole.requests += batch->requests;
    if (in_window(load, load->engine->now_ns))
        load->window.requests += batch->requests;
    http_reply_start(&run->reply, next_is_head(run), load->settings.check_crc);
    arm(load, connection);
    load->engine->operations->send(load->engine, connection, batch->text, batch->length);
}

/* Takes the session off the books. */
static void leave(struct load *load, uint32_t connection)
{
    struct run *run = &load->runs[connection];
    load_disarm(load, connection);
    http_reply_drop(&run->reply);
    run->live = false;
    load->in_flight--;
    load->established -= run->established;
}

void load_end(struct load *load, uint32_t connection, enum error_class error)
{
    count_error(load, load->runs[connection].in_window, error);
    leave(load, connection);
}

void load_abort(struct load *load, uint32_t connection, enum error_class error)
{
    load_end(load, connection, error);
    load->engine->operations->abort(load->engine, connection);
}

static void abort_other(struct load *load, uint32_t connection, enum other_reason reason)
{
    load->other[reason]++;
    load_abort(load, connection, ERROR_OTHER);
}

static void complete(struct load *load, uint32_t connection)
{
    load->whole.completed++;
    load->window.intended.completed += load->runs[connection].in_window;
    leave(load, connection);
    load->engine->operations->finish(load->engine, connection);
}

static void batch_done(struct load *load, uint32_t connection)
{
    struct run *run = &load->runs[connection];
    if (++run->batch == run->session->count) {
        complete(load, connection);
        return;
    }
    uint64_t now = load->engine->now_ns, think_ns = run->session->batches[run->batch].think_ns;
    if (think_ns == 0) {
        load_send_batch(load, connection, now);
        return;
    }
    run->thinking = true;
    load_disarm(load, connection); /* nothing is expected of the server now */
    think_push(&load->thinking, (struct think){.at_ns = now + think_ns, .connection = connection, .generation = run->generation});
}

/* False: the session is over. */
static bool reply_done(struct load *load, uint32_t connection)
{
    struct run *run = &load->runs[connection];
    uint64_t now = load->engine->now_ns;
    if (run->reply.status / 100 != 2) {
        abort_other(load, connection, OTHER_STATUS);
        return false;
    }
    if (load->settings.check_crc && run->reply.body_crc != load->settings.body_crc) {
        abort_other(load, connection, OTHER_BODY);
        return false;
    }
    load->whole.replies++;
    load->window.intended.replies += run->in_window;
    load->window.replies += in_window(load, now);
    if (run->in_window) {
        histogram_record(&load->window.response, now - run->intended_ns);
        histogram_record(&load->window.response_actual, now - run->actual_ns);
    }
    if (--run->replies_left)
        http_reply_start(&run->reply, next_is_head(run), load->settings.check_crc);
    else
        batch_done(load, connection);
    return run->live;
}

static void on_connected(void *owner, uint32_t connection)
{
    struct load *load = owner;
    struct run *run = &load->runs[connection];
    run->established = true;
    load->established++;
    if (run->in_window)
        histogram_record(&load->window.connect, load->engine->now_ns - run->started_ns);
    load_send_batch(load, connection, run->intended_ns);
}

static void on_confirmed(void *owner, uint32_t connection)
{
    (void)owner; /* loadgen never asks: its requests are answered, or not */
    (void)connection;
}

static void on_received(void *owner, uint32_t connection, const uint8_t *bytes, size_t length)
{
    struct load *load = owner;
    struct run *run = &load->runs[connection];
    if (in_window(load, load->engine->now_ns))
        load->window.bytes_received += length;
    while (length) {
        size_t used;
        if (run->replies_left == 0) {
            abort_other(load, connection, OTHER_UNEXPECTED_DATA);
            return;
        }
        enum http_result result = http_reply_feed(&run->reply, bytes, length, &used);
        if (result == HTTP_BAD) {
            abort_other(load, connection, OTHER_NOT_HTTP);
            return;
        }
        bytes += used;
        length -= used;
        if (result == HTTP_DONE && !reply_done(load, connection))
            return;
    }
    if (!run->thinking)
        arm(load, connection);
}

static void on_peer_closed(void *owner, uint32_t connection)
{
    struct load *load = owner;
    struct run *run = &load->runs[connection];
    if (run->replies_left == 1 && http_reply_ends_with_connection(&run->reply) && run->batch + 1 == run->session->count)
        reply_done(load, connection);
    else
        abort_other(load, connection, OTHER_EARLY_CLOSE);
}

static void on_failed(void *owner, uint32_t connection, enum engine_error error)
{
    struct load *load = owner;
    load->other[OTHER_ENGINE] += error_class_of(error) == ERROR_OTHER;
    load_end(load, connection, error_class_of(error));
}

const struct engine_events load_events = {
    .connected = on_connected,
    .confirmed = on_confirmed,
    .received = on_received,
    .peer_closed = on_peer_closed,
    .failed = on_failed,
};
