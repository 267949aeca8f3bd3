/* Flags that loadgen and idleconn share: the server, the emulated hosts, the way to it. */
#ifndef CLIENT_TARGET_H
#define CLIENT_TARGET_H

#include "access_plan.h"
#include "engine.h"
#include "options.h"

struct target_flags {
    struct engine_settings engine;
    const struct engine_operations *operations;
    uint64_t port, ring_frames, ring_frame_bytes, receive_buffer;
    const char *target_text, *links_path;
    struct access_plan links;
};

struct target_flags target_defaults(void);

/* option_spec initialisers, for use inside a table. */
const char *target_parse_address(const char *text, void *flags);
const char *target_parse_hosts(const char *text, void *flags);
const char *target_parse_engine(const char *text, void *flags);

#define TARGET_OPTIONS(flags)                                                                                                        \
    {.name = "engine", .kind = OPTION_CUSTOM, .target = (flags), .value = "NAME", .parse = target_parse_engine,                      \
     .help = "what carries the connections: packet (own TCP on AF_PACKET) or socket (the kernel's) [packet]"},                       \
    {.name = "target", .kind = OPTION_CUSTOM, .target = (flags), .value = "ADDR", .parse = target_parse_address,                     \
     .help = "the server's IPv4 address", .required = true},                                                                         \
    {.name = "port", .kind = OPTION_COUNT, .target = &(flags)->port, .value = "N", .low = 1, .high = 65535,                          \
     .help = "the server's port"},                                                                                                   \
    {.name = "hosts", .kind = OPTION_CUSTOM, .target = (flags), .value = "PREFIX", .parse = target_parse_hosts,                      \
     .help = "emulated hosts, as ADDR/LENGTH; the server routes them to this machine", .required = true},                            \
    {.name = "interface", .kind = OPTION_TEXT, .target = &(flags)->engine.interface, .value = "NAME",                                \
     .help = "packet engine: the way out; a name, or address:ADDR for the interface with that address"},                             \
    {.name = "source-mac", .kind = OPTION_TEXT, .target = &(flags)->engine.source_mac, .value = "MAC",                               \
     .help = "packet engine: own MAC address"},                                                                                      \
    {.name = "gateway-mac", .kind = OPTION_TEXT, .target = &(flags)->engine.gateway_mac, .value = "MAC",                             \
     .help = "packet engine: next hop's MAC address; auto asks by ARP"},                                                             \
    {.name = "initial-rto", .kind = OPTION_DURATION, .target = &(flags)->engine.initial_rto_ns, .value = "D", .low = 1e6,            \
     .high = 60e9, .help = "packet engine: first retransmission before a round trip is known"},                                      \
    {.name = "minimum-rto", .kind = OPTION_DURATION, .target = &(flags)->engine.minimum_rto_ns, .value = "D", .low = 1e6,            \
     .high = 60e9, .help = "packet engine: least retransmission time afterwards"},                                                   \
    {.name = "ring-frames", .kind = OPTION_COUNT, .target = &(flags)->ring_frames, .value = "N", .low = 0, .high = 1 << 20,          \
     .help = "packet engine: slots of the receive ring; 0: what suits the load"},                                                      \
    {.name = "ring-frame-bytes", .kind = OPTION_CUSTOM, .target = (flags), .value = "N", .parse = target_parse_frame_bytes,          \
     .help = "packet engine: size of a slot, a power of two from 512 to 65536 [what suits the load]"},                                \
    {.name = "receive-buffer", .kind = OPTION_COUNT, .target = &(flags)->receive_buffer, .value = "BYTES", .low = 2048,              \
     .high = 1 << 26, .help = "largest receive window of a connection"},                                                             \
    {.name = "links", .kind = OPTION_TEXT, .target = &(flags)->links_path, .value = "FILE",                                          \
     .help = "packet engine: links of the emulated hosts' own; a line each: SHARE down WORD VALUE ... up WORD VALUE ..."},            \
    {.name = "links-seed", .kind = OPTION_COUNT, .target = &(flags)->engine.access_seed, .value = "N",                               \
     .help = "which host has which link, and what each loses"}

const char *target_parse_frame_bytes(const char *text, void *flags);

/* Copies what was parsed into flags->engine; ends the program if something does not fit together. The defaults of the receive ring:
   `ring_frames` slots of `ring_frame_bytes`. */
void target_check(struct target_flags *flags, uint32_t ring_frames, uint32_t ring_frame_bytes);

/* Frees what target_check() made; the engine must be closed. */
void target_free(struct target_flags *flags);

#endif
