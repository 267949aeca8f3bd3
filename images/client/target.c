#include "target.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_LINKED_HOSTS = 1 << 20 };

struct target_flags target_defaults(void)
{
    return (struct target_flags){
        .engine = {.source_mac = "auto", .gateway_mac = "auto", .initial_rto_ns = 1000000000, .minimum_rto_ns = 200000000, .access_seed = 1},
        .port = 8080,
        .receive_buffer = 512 * 1024,
    };
}

const char *target_parse_address(const char *text, void *target)
{
    struct target_flags *flags = target;
    flags->target_text = text;
    return inet_pton(AF_INET, text, &flags->engine.target) == 1 ? NULL : "an IPv4 address";
}

const char *target_parse_hosts(const char *text, void *target)
{
    static const char allowed[] = "a prefix like 10.77.64.0/18, of length 8 to 32";
    struct target_flags *flags = target;
    const char *slash = strchr(text, '/');
    char address[INET_ADDRSTRLEN], *rest;
    if (!slash || (size_t)(slash - text) >= sizeof address || slash[1] < '0' || slash[1] > '9')
        return allowed;
    memcpy(address, text, (size_t)(slash - text));
    address[slash - text] = '\0';
    struct in_addr network;
    unsigned long length = strtoul(slash + 1, &rest, 10);
    if (inet_pton(AF_INET, address, &network) != 1 || *rest || length < 8 || length > 32)
        return allowed;
    uint32_t size = 1u << (32 - length), first = ntohl(network.s_addr) & ~(size - 1);
    bool ends = length < 31; /* the first and the last address are no hosts */
    flags->engine.first_host = first + ends;
    flags->engine.host_count = size - 2 * ends;
    return NULL;
}

const char *target_parse_engine(const char *text, void *target)
{
    struct target_flags *flags = target;
    flags->operations = engine_find(text);
    return flags->operations ? NULL : engine_names();
}

const char *target_parse_frame_bytes(const char *text, void *target)
{
    struct target_flags *flags = target;
    char *rest;
    unsigned long bytes = strtoul(text, &rest, 10);
    if (*text < '0' || *text > '9' || *rest || bytes < 512 || bytes > 65536 || bytes & (bytes - 1))
        return "a power of two from 512 to 65536";
    flags->ring_frame_bytes = bytes;
    return NULL;
}

void target_check(struct target_flags *flags, uint32_t ring_frames, uint32_t ring_frame_bytes)
{
    if (!flags->operations)
        flags->operations = engine_find("packet");
    uint32_t target = ntohl(flags->engine.target.s_addr);
    if (target - flags->engine.first_host < flags->engine.host_count)
        options_fail("--hosts: the prefix contains the target %s", flags->target_text);
    flags->engine.port = (uint16_t)flags->port;
    flags->engine.ring_frames = flags->ring_frames ? (uint32_t)flags->ring_frames : ring_frames;
    flags->engine.ring_frame_bytes = flags->ring_frame_bytes ? (uint32_t)flags->ring_frame_bytes : ring_frame_bytes;
    flags->engine.receive_buffer = (uint32_t)flags->receive_buffer;
    if (!flags->links_path)
        return;
    if (!flags->operations->own_links)
        options_fail("--links: the %s engine's hosts have no links of their own: --engine packet has", flags->operations->name);
    if (flags->engine.host_count > MOST_LINKED_HOSTS)
        options_fail("--links: at most %d hosts can have links of their own, a prefix of length 12", MOST_LINKED_HOSTS);
    access_plan_read(&flags->links, flags->links_path);
    flags->engine.access = &flags->links;
}

void target_free(struct target_flags *flags)
{
    access_plan_free(&flags->links);
}
