/* The schedule: when sessions start, when they are given up, and when the run is over. */
#include "load.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "clock.h"

#define START_DELAY_NS (10 * NS_PER_MS) /* when no start is given: time for the first wait() */

int load_prepare(struct load *load, struct engine *engine)
{
    load->engine = engine;
    load->random = (struct random_state){.state = load->settings.seed};
    load->oldest = load->newest = NO_RUN;
    load->starting = true;
    load->runs = calloc(load->settings.most_in_flight, sizeof *load->runs);
    return load->runs ? 0 : -1;
}

static void schedule_next(struct load *load)
{
    load->next_offset_ns += load->settings.arrival->gap(&load->random, 1e9 / load->settings.rate_per_s);
    load->next_start_ns = load->begin_ns + (uint64_t)load->next_offset_ns;
    load->starting = load->next_start_ns < load->window_end_ns;
}

static void begin(struct load *load)
{
    load->begin_ns = load->settings.start_at_ns ? load->settings.start_at_ns : clock_now_ns() + START_DELAY_NS;
    load->window_begin_ns = load->begin_ns + load->settings.warm_up_ns;
    load->window_end_ns = load->window_begin_ns + load->settings.window_ns;
    load->next_interval_ns = load->begin_ns + load->settings.interval_ns;
    /* Clients that begin together must not beat in step: each has a phase of its own. */
    load->next_offset_ns = random_unit(&load->random) * 1e9 / load->settings.rate_per_s;
    load->next_start_ns = load->begin_ns + (uint64_t)load->next_offset_ns;
}

/* Everything overdue goes at once. */
static void start_due(struct load *load)
{
    uint64_t burst = 0;
    if (!load->starting || load->next_start_ns > load->engine->now_ns)
        return;
    load->engine->now_ns = clock_now_ns();
    bool inside = load->engine->now_ns >= load->window_begin_ns && load->engine->now_ns < load->window_end_ns;
    for (; load->starting && load->next_start_ns <= load->engine->now_ns; burst++) {
        load_start_one(load, load->next_start_ns, load->engine->now_ns);
        schedule_next(load);
    }
    if (inside && burst > load->window.max_burst)
        load->window.max_burst = burst;
}

static void expire(struct load *load)
{
    while (load->oldest != NO_RUN && load->runs[load->oldest].deadline_ns <= load->engine->now_ns)
        load_abort(load, load->oldest, ERROR_CLIENT_TIMO);
}

static void wake_thinkers(struct load *load)
{
    while (think_next_ns(&load->thinking) <= load->engine->now_ns) {
        struct think due = think_pop(&load->thinking);
        const struct run *run = &load->runs[due.connection];
        if (run->live && run->thinking && run->generation == due.generation)
            load_send_batch(load, due.connection, due.at_ns);
    }
}

static void count(struct concurrency *concurrency, uint32_t connections, uint64_t ns)
{
    concurrency->connection_ns += (double)connections * (double)ns;
    if (connections > concurrency->max)
        concurrency->max = connections;
}

/* Sums up the time since the last look, with the numbers of then: the engine slept most of it, and nothing changed. */
static void count_connections(struct load *load)
{
    uint64_t until = load->engine->now_ns < load->window_end_ns ? load->engine->now_ns : load->window_end_ns;
    uint64_t since = load->counted_at_ns > load->window_begin_ns ? load->counted_at_ns : load->window_begin_ns;
    if (until > since) {
        count(&load->window.open, load->counted_open, until - since);
        count(&load->window.established, load->counted_established, until - since);
    }
}

static void note_connections(struct load *load)
{
    load->counted_at_ns = load->engine->now_ns;
    load->counted_open = load->engine->operations->open_connections(load->engine);
    load->counted_established = load->established;
}

static void watch_window(struct load *load)
{
    uint64_t now = load->engine->now_ns;
    if (!load->window_open && !load->window_done && now >= load->window_begin_ns) {
        load->window_open = true;
        load->cpu_at_begin_ns = clock_cpu_ns();
    }
    if (load->window_open && now >= load->window_end_ns) {
        load->window_open = false;
        load->window_done = true;
        load->window.cpu_ns = clock_cpu_ns() - load->cpu_at_begin_ns;
    }
}

static void report_interval(struct load *load)
{
    if (load->engine->now_ns < load->next_interval_ns)
        return;
    struct json json;
    json_line(&json, "interval");
    json_uint(&json, "now_ns", load->engine->now_ns);
    json_uint(&json, "started", load->whole.attempted);
    json_uint(&json, "completed", load->whole.completed);
    json_uint(&json, "replies", load->whole.replies);
    json_uint(&json, "errors", tally_errors(&load->whole));
    json_uint(&json, "in_flight", load->in_flight);
    json_uint(&json, "established", load->established);
    json_uint(&json, "open", load->engine->operations->open_connections(load->engine));
    json_end(&json, STDOUT_FILENO);
    uint64_t interval_ns = load->settings.interval_ns;
    load->next_interval_ns += ((load->engine->now_ns - load->next_interval_ns) / interval_ns + 1) * interval_ns;
}

static uint64_t earlier(uint64_t one, uint64_t other)
{
    return one < other ? one : other;
}

static uint64_t next_deadline(const struct load *load, uint64_t drain_end_ns)
{
    uint64_t deadline = earlier(load->next_interval_ns, think_next_ns(&load->thinking));
    if (load->starting)
        deadline = earlier(deadline, load->next_start_ns);
    if (load->oldest != NO_RUN)
        deadline = earlier(deadline, load->runs[load->oldest].deadline_ns);
    if (!load->window_done)
        deadline = earlier(deadline, load->window_open ? load->window_end_ns : load->window_begin_ns);
    else
        deadline = earlier(deadline, drain_end_ns);
    return deadline;
}

/* What is still on its way when the run ends. */
static void give_up_rest(struct load *load, enum error_class error)
{
    for (uint32_t i = 0; i < load->settings.most_in_flight && load->in_flight; i++) {
        if (!load->runs[i].live)
            continue;
        load->other[OTHER_INTERRUPTED] += error == ERROR_OTHER;
        load_abort(load, i, error);
    }
}

int load_run(struct load *load, const volatile sig_atomic_t *stop)
{
    begin(load);
    uint64_t drain_end_ns = load->window_end_ns + load->settings.timeout_ns;
    while (!*stop) {
        load->engine->now_ns = clock_now_ns();
        count_connections(load);
        watch_window(load);
        start_due(load);
        wake_thinkers(load);
        expire(load);
        report_interval(load);
        bool idle = !load->in_flight && !load->engine->operations->open_connections(load->engine);
        if (load->window_done && !load->starting && (idle || load->engine->now_ns >= drain_end_ns))
            break;
        note_connections(load);
        if (load->engine->operations->wait(load->engine, next_deadline(load, drain_end_ns)) < 0 && errno != EINTR)
            return -1;
    }
    watch_window(load);
    if (load->window_open) /* interrupted inside it */
        load->window.cpu_ns = clock_cpu_ns() - load->cpu_at_begin_ns;
    give_up_rest(load, *stop ? ERROR_OTHER : ERROR_CLIENT_TIMO);
    return 0;
}

void load_close(struct load *load)
{
    think_close(&load->thinking);
    sessions_free(&load->sessions);
    free(load->runs);
}
