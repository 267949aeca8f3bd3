#include "probe_arrivals.h"

#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "probe_packet.h"

int arrivals_open(struct arrivals *arrivals, uint32_t train, size_t size, uint64_t most)
{
    *arrivals = (struct arrivals){.train = train, .size = size, .room = most, .list = calloc(most, sizeof *arrivals->list)};
    return arrivals->list ? 0 : -1;
}

void arrivals_close(struct arrivals *arrivals)
{
    free(arrivals->list);
    arrivals->list = NULL;
}

void arrivals_note(struct arrivals *arrivals, const unsigned char *payload, size_t length, uint64_t now_ns)
{
    struct probe_packet packet;
    if (length != arrivals->size) {
        arrivals->foreign++;
        return;
    }
    memcpy(&packet, payload, sizeof packet);
    if (packet.sum != probe_sum(payload, length)) {
        arrivals->corrupted++;
        return;
    }
    if (packet.magic != PROBE_MAGIC || packet.train != arrivals->train) {
        arrivals->foreign++;
        return;
    }
    if (packet.sequence == PROBE_WARM_UP)
        return;
    if (arrivals->count == arrivals->room) {
        arrivals->beyond++;
        return;
    }
    arrivals->list[arrivals->count++] =
        (struct arrival){.sequence = packet.sequence, .sent_ns = packet.sent_ns, .arrived_ns = now_ns};
}

void arrivals_write(const struct arrivals *arrivals, int descriptor)
{
    struct json json;
    json_line(&json, "summary");
    json_uint(&json, "train", arrivals->train);
    json_uint(&json, "received", arrivals->count);
    json_uint(&json, "corrupted", arrivals->corrupted);
    json_uint(&json, "foreign", arrivals->foreign);
    json_uint(&json, "beyond", arrivals->beyond);
    json_uint(&json, "dropped", arrivals->dropped);
    uint64_t base = arrivals->count ? arrivals->list[0].sent_ns : 0;
    json_uint(&json, "base_ns", base);
    json_array_open(&json, "sequence");
    for (uint64_t i = 0; i < arrivals->count; i++)
        json_uint(&json, NULL, arrivals->list[i].sequence);
    json_array_close(&json);
    json_array_open(&json, "sent_ns");
    for (uint64_t i = 0; i < arrivals->count; i++)
        json_int(&json, NULL, (int64_t)(arrivals->list[i].sent_ns - base));
    json_array_close(&json);
    json_array_open(&json, "arrived_ns");
    for (uint64_t i = 0; i < arrivals->count; i++)
        json_int(&json, NULL, (int64_t)(arrivals->list[i].arrived_ns - base));
    json_array_close(&json);
    json_end(&json, descriptor);
}

void probe_fill(unsigned char *payload, size_t size, uint32_t train, uint32_t sequence, uint64_t sent_ns)
{
    struct probe_packet packet = {.magic = PROBE_MAGIC, .train = train, .sequence = sequence, .sent_ns = sent_ns};
    memcpy(payload, &packet, sizeof packet);
    packet.sum = probe_sum(payload, size);
    memcpy(payload, &packet, sizeof packet);
}
