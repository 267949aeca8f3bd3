#include "probe_train.h"

#include "clock.h"

struct probe_train probe_train_defaults(void)
{
    return (struct probe_train){
        .number = 1, .count = 100, .size = 64, .interval_ns = NS_PER_MS, .settle_ns = 60 * NS_PER_MS, .most = 100000};
}

uint64_t probe_pace_next_ns(const struct probe_pace *pace, const struct probe_train *train)
{
    return pace->began_ns + pace->sent * train->interval_ns;
}

uint64_t probe_pace_due(struct probe_pace *pace, const struct probe_train *train, uint64_t now_ns)
{
    uint64_t due = train->interval_ns ? (now_ns - pace->began_ns) / train->interval_ns + 1 : train->count;
    if (due > train->count)
        due = train->count;
    if (due <= pace->sent)
        return pace->sent;
    uint64_t late_ns = now_ns - probe_pace_next_ns(pace, train);
    if (late_ns > pace->late_max_ns)
        pace->late_max_ns = late_ns;
    return due;
}

void probe_pace_write(const struct probe_pace *pace, const struct probe_train *train, struct json *json)
{
    json_line(json, "summary");
    json_uint(json, "train", train->number);
    json_uint(json, "sent", pace->sent);
    json_uint(json, "refused", pace->refused);
    json_uint(json, "began_ns", pace->began_ns);
    json_uint(json, "ended_ns", pace->ended_ns);
    json_uint(json, "late_max_ns", pace->late_max_ns);
}
