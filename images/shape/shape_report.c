#include "shape_report.h"

void shape_write(struct json *json, const char *key, const struct shape *shape)
{
    json_object_open(json, key);
    json_uint(json, "delay_ns", shape->delay_ns);
    json_uint(json, "jitter_ns", shape->jitter_ns);
    json_string(json, "distribution", distribution_names[shape->distribution]);
    json_real(json, "correlation", shape->correlation);
    json_real(json, "loss", shape->loss);
    json_bool(json, "bursts", shape->bursts);
    json_real(json, "to_bad", shape->to_bad);
    json_real(json, "to_good", shape->to_good);
    json_real(json, "bad_loss", shape->bad_loss);
    json_real(json, "good_loss", shape->good_loss);
    json_real(json, "duplicate", shape->duplicate);
    json_real(json, "reorder", shape->reorder);
    json_real(json, "corrupt", shape->corrupt);
    json_uint(json, "rate_bps", shape->rate_bps);
    json_uint(json, "burst_bytes", shape->burst_bytes);
    json_uint(json, "limit", shape->limit);
    json_uint(json, "seed", shape->seed);
    json_object_close(json);
}
