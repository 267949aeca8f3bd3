/* The way out: the interface, its MAC address, and that of the next hop. */
#ifndef PACKET_WAY_H
#define PACKET_WAY_H

#include <stddef.h>
#include <stdint.h>

#include "engine.h"

struct packet_way {
    int interface; /* index */
    uint32_t mtu;
    uint8_t mac[6], gateway_mac[6];
};

/* 0, or -1 and one line in `problem`. */
int way_resolve(struct packet_way *way, const struct engine_settings *settings, char *problem, size_t room);

#endif
