#include "shape.h"

#include <math.h>
#include <stdlib.h>

#include "clock.h"

const char *const distribution_names[] = {"uniform", "normal", "pareto", NULL};

#define CUT 4.0 /* jitters beyond which nothing is drawn, as netem's tables have it */

static double normal_draw(struct stream *stream)
{
    return sqrt(-2 * log(stream_unit(stream))) * cos(2 * M_PI * stream_unit(stream));
}

static double normal_share(double value)
{
    return 0.5 * erfc(-value * M_SQRT1_2);
}

/* The inverse of the normal distribution, by Newton's method on its own distribution function. */
static double normal_quantile(double unit)
{
    double value = 0;
    for (int i = 0; i < 64; i++) {
        double density = exp(-value * value / 2) / sqrt(2 * M_PI);
        double step = (normal_share(value) - unit) / density;
        step = fmax(-0.5, fmin(0.5, step)); /* far out the density is nothing, and the step would leave the range */
        value -= step;
        if (fabs(step) < 1e-12 || fabs(value) > 9)
            break;
    }
    return value;
}

static double cut(double value)
{
    return fmax(-CUT, fmin(CUT, value));
}

double distribution_quantile(enum distribution distribution, double unit)
{
    switch (distribution) {
    case DISTRIBUTION_NORMAL:
        return cut(normal_quantile(unit));
    case DISTRIBUTION_PARETO:
        return cut((pow(1 - unit, -1.0 / 3) - 1.5) * 4 / 3);
    case DISTRIBUTION_UNIFORM:
        break;
    }
    return 2 * unit - 1;
}

/* Correlation binds normal numbers, which the distribution's quantiles then turn into what is declared: whatever the
 * correlation, the distribution of the draws is exact. */
static double jitter_draw(struct link *link)
{
    struct stream *stream = &link->streams[STREAM_JITTER];
    const struct shape *shape = link->shape;
    if (shape->correlation == 0) {
        if (shape->distribution == DISTRIBUTION_NORMAL)
            return cut(normal_draw(stream));
        return distribution_quantile(shape->distribution, stream_unit(stream));
    }
    double rho = shape->correlation;
    double value = rho * link->last_normal + sqrt(1 - rho * rho) * normal_draw(stream);
    link->last_normal = value;
    if (shape->distribution == DISTRIBUTION_NORMAL)
        return cut(value);
    double unit = normal_share(value);
    return distribution_quantile(shape->distribution, fmin(fmax(unit, 1e-15), 1 - 1e-15));
}

static uint64_t travel_ns(struct link *link)
{
    const struct shape *shape = link->shape;
    if (shape->jitter_ns == 0)
        return shape->delay_ns;
    double travel = (double)shape->delay_ns + jitter_draw(link) * (double)shape->jitter_ns;
    return travel > 0 ? (uint64_t)travel : 0;
}

static bool happens(struct stream *stream, double share)
{
    /* A number is used up whether it can happen or not: the fate of the n-th packet hangs on nothing but n. */
    if (share == 0) {
        stream_skip(stream);
        return false;
    }
    return stream_unit(stream) < share;
}

static bool is_lost(struct link *link)
{
    const struct shape *shape = link->shape;
    if (!shape->bursts)
        return happens(&link->streams[STREAM_LOSS], shape->loss);
    bool lost = happens(&link->streams[STREAM_LOSS], link->bad ? shape->bad_loss : shape->good_loss);
    if (happens(&link->streams[STREAM_STATE], link->bad ? shape->to_good : shape->to_bad))
        link->bad = !link->bad;
    return lost;
}

/* Room for one more waiting packet. Without memory the queue is full. */
static bool make_room(struct link *link)
{
    if (link->waiting < link->room)
        return true;
    uint32_t room = link->room ? 2 * link->room : 16;
    uint64_t *ring = malloc(room * sizeof *ring);
    if (!ring)
        return false;
    for (uint32_t i = 0; i < link->waiting; i++)
        ring[i] = link->leaving_ns[(link->head + i) & (link->room - 1)];
    free(link->leaving_ns);
    link->leaving_ns = ring;
    link->room = room;
    link->head = 0;
    return true;
}

/* When the packet has left the queue of the rate. Returns false if there is no room in it. */
static bool leave_queue(struct link *link, uint64_t now_ns, size_t length, uint64_t *left_ns)
{
    const struct shape *shape = link->shape;
    if (shape->rate_bps == 0) {
        *left_ns = now_ns;
        return true;
    }
    while (link->waiting && link->leaving_ns[link->head] <= now_ns) {
        link->head = (link->head + 1) & (link->room - 1);
        link->waiting--;
    }
    if (link->waiting > shape->limit || !make_room(link)) /* one is being sent, the others wait */
        return false;
    double ns_per_byte = 8e9 / (double)shape->rate_bps;
    uint64_t sending_ns = (uint64_t)((double)(length + ETHERNET_HEADER) * ns_per_byte + 0.5);
    uint64_t ahead_ns = (uint64_t)((double)shape->burst_bytes * ns_per_byte);
    uint64_t base = link->free_at_ns > now_ns ? link->free_at_ns : now_ns;
    link->free_at_ns = base + sending_ns;
    uint64_t left = link->free_at_ns > ahead_ns ? link->free_at_ns - ahead_ns : 0;
    *left_ns = left > now_ns ? left : now_ns;
    link->leaving_ns[(link->head + link->waiting) & (link->room - 1)] = *left_ns;
    link->waiting++;
    return true;
}

struct fate link_packet(struct link *link, uint64_t now_ns, size_t length)
{
    const struct shape *shape = link->shape;
    struct fate fate = {.lost = is_lost(link)};
    fate.duplicated = happens(&link->streams[STREAM_DUPLICATE], shape->duplicate);
    fate.corrupted = happens(&link->streams[STREAM_CORRUPT], shape->corrupt);
    bool at_once = happens(&link->streams[STREAM_REORDER], shape->reorder);
    uint64_t travels = travel_ns(link);
    if (fate.lost)
        return fate;
    uint64_t left_ns;
    if (!leave_queue(link, now_ns, length, &left_ns)) {
        fate.overflowed = true;
        return fate;
    }
    if (fate.corrupted)
        fate.flipped_bit = stream_next(&link->streams[STREAM_BIT]);
    fate.release_ns = left_ns;
    if (at_once)
        return fate;
    fate.release_ns += travels;
    if (shape->rate_bps && fate.release_ns < link->last_release_ns)
        fate.release_ns = link->last_release_ns;
    link->last_release_ns = fate.release_ns;
    return fate;
}

static void start_streams(struct link *link)
{
    for (int i = 0; i < STREAMS; i++)
        link->streams[i] = stream_of(link->seed, (uint64_t)i + 1);
    link->last_normal = normal_draw(&link->streams[STREAM_JITTER]);
    link->bad = false;
}

void link_init(struct link *link, const struct shape *shape, uint64_t seed)
{
    *link = (struct link){.shape = shape, .seed = seed};
    start_streams(link);
}

void link_change(struct link *link, const struct shape *shape, uint64_t seed)
{
    link->shape = shape;
    if (seed == link->seed)
        return;
    link->seed = seed;
    start_streams(link);
}

void link_free(struct link *link)
{
    free(link->leaving_ns);
    link->leaving_ns = NULL;
    link->head = link->waiting = link->room = 0;
}

bool shape_touches(const struct shape *shape)
{
    return shape->delay_ns || shape->loss > 0 || shape->bursts || shape->duplicate > 0 || shape->corrupt > 0 || shape->rate_bps;
}
