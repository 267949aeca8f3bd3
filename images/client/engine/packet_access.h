/*
 * The emulated hosts' own links: between the engine's TCP and the wire, each host has a link of its own in each direction, which
 * delays, loses, repeats, flips and spaces frames as linkem does (shape.c decides for both). Frames that are on their way
 * wait in memory.
 *
 * A frame of many segments, as the server's kernel hands over, is cut first: links carry packets.
 */
#ifndef PACKET_ACCESS_H
#define PACKET_ACCESS_H

#include "access_plan.h"
#include "engine/packet_calendar.h"
#include "engine/packet_ring.h"
#include "json.h"

struct access_settings {
    const struct access_plan *plan; /* the caller's, and must stay */
    uint64_t seed;
    uint32_t first_host, host_count; /* host order */
    uint32_t most_payload;           /* of a TCP segment: longer ones are cut */
};

/* Where frames go on to. Frames are valid during the call only. */
struct access_outlets {
    void (*up)(void *owner, const uint8_t *bytes, size_t length);
    void (*down)(void *owner, const struct packet_frame *frame);
    void *owner;
};

struct packet_access;

/* NULL without memory. */
struct packet_access *access_open(const struct access_settings *settings, const struct access_outlets *outlets, uint64_t now_ns);
/* What is on its way up goes on at once, what comes down is dropped. */
void access_close(struct packet_access *access);

/* Room for a frame that the caller builds at once and hands to access_send(); NULL (counted) when no more may wait. */
uint8_t *access_reserve(struct packet_access *access, size_t length);
/* Sends the frame that was reserved last through the link of its host. */
void access_send(struct packet_access *access, uint8_t *frame, uint32_t host, uint64_t now_ns);
/* Takes in a frame that came from the wire at now_ns, or a little before: it comes out of the outlet `down`, sooner or later or not at all. */
void access_receive(struct packet_access *access, const struct packet_frame *frame, uint64_t now_ns);
/* Lets go what is due. */
void access_release(struct packet_access *access, uint64_t now_ns);
/* When the next frame is due; UINT64_MAX when none waits. */
uint64_t access_next_ns(const struct packet_access *access);
uint32_t access_held(const struct packet_access *access);
/* Frames of all hosts for which there was no room: they were dropped, and not by any link. */
uint64_t access_no_room(const struct packet_access *access, int direction);
/* The shape of a host's link. */
const struct shape *access_shape(const struct packet_access *access, uint32_t host, int direction);
/* Members of an object that is open. */
void access_counters(const struct packet_access *access, struct json *json);

#endif
