/*
 * The socket engine: the kernel's TCP, from many source addresses. The reference that the packet engine is checked against.
 *
 * The emulated hosts must be addresses of this machine (`ip route add local PREFIX dev lo`); each connection is bound to host
 * and port by itself, which goes beyond the kernel's range of ephemeral ports. A connection that was finished is the kernel's,
 * TIME_WAIT included.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "engine.h"
#include "engine/address_pairs.h"
#include "engine/socket_dial.h"

enum {
    EVENTS = 256,
    READ_BYTES = 64 * 1024,
    READS = 16,      /* of one connection before others get their turn */
    SYN_RETRY_MS = 900, /* a connect() that took longer lost its SYN: the kernel's first retransmission comes after 1 s */
};

struct socket_connection {
    int descriptor; /* -1: free */
    uint32_t generation;
    uint32_t watched; /* epoll events that are registered */
    bool registered, connecting, owned, finishing, peer_closed;
    int broken; /* the errno of what failed where the load expects no failed(): the next wait() tells it */
    const uint8_t *data; /* still to be sent */
    size_t length;
    uint8_t *copy; /* data, where it had to be put together from two sends */
    size_t allowance; /* manual_read: bytes that may still be delivered */
    uint64_t started_ns;
};

struct socket_engine {
    struct engine base; /* first: the contract hands out its address */
    struct engine_settings settings;
    int epoll;
    struct socket_connection *connections;
    uint32_t *free_slots;
    uint32_t free_count, touched, open;
    bool any_broken;
    uint64_t next_pair;
    uint64_t segments_sent, segments_received, retransmissions, slow_connects, resets_received, resets_sent;
    uint8_t buffer[READ_BYTES];
};

static const struct engine_operations socket_operations;

static struct socket_engine *socket_of(struct engine *engine)
{
    return (struct socket_engine *)engine;
}

static void socket_close(struct engine *base);

static struct engine *socket_open(const struct engine_settings *settings, const struct engine_events *events, void *owner,
                                  char *problem, size_t room)
{
    struct socket_engine *engine = calloc(1, sizeof *engine);
    if (!engine) {
        snprintf(problem, room, "no memory");
        return NULL;
    }
    engine->base = (struct engine){.operations = &socket_operations, .events = events, .owner = owner, .now_ns = clock_now_ns()};
    engine->settings = *settings;
    engine->epoll = epoll_create1(EPOLL_CLOEXEC);
    engine->connections = calloc(settings->most_connections, sizeof *engine->connections);
    engine->free_slots = calloc(settings->most_connections, sizeof *engine->free_slots);
    engine->next_pair = pairs_begin();
    if (engine->epoll < 0 || !engine->connections || !engine->free_slots) {
        snprintf(problem, room, "socket engine: %s", strerror(errno));
        socket_close(&engine->base);
        return NULL;
    }
    return &engine->base;
}

/* What TCP saw of a connection that is given back. */
static void account(struct socket_engine *engine, const struct socket_connection *self)
{
    struct tcp_info info;
    socklen_t length = sizeof info;
    memset(&info, 0, sizeof info);
    if (getsockopt(self->descriptor, IPPROTO_TCP, TCP_INFO, &info, &length) < 0)
        return;
    engine->retransmissions += info.tcpi_total_retrans;
    engine->segments_sent += info.tcpi_segs_out;
    engine->segments_received += info.tcpi_segs_in;
}

static void release(struct socket_engine *engine, struct socket_connection *self)
{
    account(engine, self);
    close(self->descriptor); /* which also takes it out of the epoll set */
    free(self->copy);
    *self = (struct socket_connection){.descriptor = -1, .generation = self->generation + 1};
    engine->free_slots[engine->free_count++] = (uint32_t)(self - engine->connections);
    engine->open--;
}

static void fail(struct socket_engine *engine, struct socket_connection *self, int error)
{
    engine->resets_received += error == ECONNRESET || error == EPIPE || error == ECONNREFUSED;
    if (self->owned) {
        self->owned = false;
        engine->base.events->failed(engine->base.owner, (uint32_t)(self - engine->connections), socket_error(error));
    }
    release(engine, self);
}

/* Registers what the connection waits for now. 0, or -1 with errno. */
static int watch(struct socket_engine *engine, struct socket_connection *self)
{
    bool reads = !self->peer_closed && !self->finishing && (!engine->settings.manual_read || self->allowance);
    uint32_t wanted = (self->connecting || self->length ? EPOLLOUT : 0u) | (reads ? EPOLLIN : 0u);
    if (self->registered && wanted == self->watched)
        return 0;
    struct epoll_event event = {.events = wanted, .data.u64 = (uint64_t)self->generation << 32 | (uint32_t)(self - engine->connections)};
    if (epoll_ctl(engine->epoll, self->registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, self->descriptor, &event) < 0)
        return -1;
    self->registered = true;
    self->watched = wanted;
    return 0;
}

/* The load does not expect failed() inside its own calls: the connection fails at the next wait(). */
static void fail_later(struct socket_engine *engine, struct socket_connection *self, int error)
{
    self->broken = error;
    engine->any_broken = true;
}

static void fail_broken(struct socket_engine *engine)
{
    if (!engine->any_broken)
        return;
    engine->any_broken = false;
    for (uint32_t i = 0; i < engine->touched; i++)
        if (engine->connections[i].broken)
            fail(engine, &engine->connections[i], engine->connections[i].broken);
}

static enum engine_error socket_connect(struct engine *base, uint32_t *number)
{
    struct socket_engine *engine = socket_of(base);
    if (!engine->free_count && engine->touched == engine->settings.most_connections)
        return ENGINE_TABLE_FULL;
    int descriptor = socket_dial(&engine->settings, &engine->next_pair);
    if (descriptor < 0)
        return socket_error(errno);
    uint32_t slot = engine->free_count ? engine->free_slots[--engine->free_count] : engine->touched++;
    struct socket_connection *self = &engine->connections[slot];
    *self = (struct socket_connection){.descriptor = descriptor,
                                       .generation = self->generation,
                                       .connecting = true,
                                       .owned = true,
                                       .allowance = engine->settings.receive_buffer,
                                       .started_ns = base->now_ns};
    engine->open++;
    if (watch(engine, self) < 0) {
        release(engine, self);
        return ENGINE_OTHER;
    }
    *number = slot;
    return ENGINE_OK;
}

/* Sends what the kernel takes. False: the connection is gone. */
static bool flush(struct socket_engine *engine, struct socket_connection *self)
{
    while (self->length) {
        ssize_t sent = send(self->descriptor, self->data, self->length, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN)
            break;
        if (sent < 0) {
            fail(engine, self, errno);
            return false;
        }
        self->data += sent;
        self->length -= (size_t)sent;
    }
    if (self->finishing && !self->length) {
        release(engine, self);
        return false;
    }
    if (watch(engine, self) == 0)
        return true;
    fail(engine, self, errno);
    return false;
}

static void socket_send(struct engine *base, uint32_t number, const void *bytes, size_t length)
{
    struct socket_engine *engine = socket_of(base);
    struct socket_connection *self = &engine->connections[number];
    if (self->length && self->data + self->length != bytes) {
        uint8_t *joined = malloc(self->length + length);
        if (!joined) {
            fail_later(engine, self, ENOMEM);
            return;
        }
        memcpy(joined, self->data, self->length);
        memcpy(joined + self->length, bytes, length);
        free(self->copy);
        self->data = self->copy = joined;
    } else if (!self->length) {
        self->data = bytes;
    }
    self->length += length;
    if (self->connecting)
        return;
    ssize_t sent = send(self->descriptor, self->data, self->length, MSG_NOSIGNAL); /* a fault shows as an event */
    if (sent > 0) {
        self->data += sent;
        self->length -= (size_t)sent;
    }
    if (watch(engine, self) < 0)
        fail_later(engine, self, errno);
}

/* The kernel's word is taken: what a full backlog dropped of a handshake is the kernels' business on both sides. */
static void socket_confirm(struct engine *base, uint32_t number)
{
    base->events->confirmed(base->owner, number);
}

static void socket_finish(struct engine *base, uint32_t number)
{
    struct socket_engine *engine = socket_of(base);
    struct socket_connection *self = &engine->connections[number];
    self->owned = false;
    self->finishing = true;
    if (!self->connecting)
        flush(engine, self);
}

static void socket_abort(struct engine *base, uint32_t number)
{
    struct socket_engine *engine = socket_of(base);
    struct socket_connection *self = &engine->connections[number];
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    setsockopt(self->descriptor, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    engine->resets_sent += !self->connecting;
    release(engine, self);
}

static void socket_read(struct engine *base, uint32_t number, uint32_t length)
{
    struct socket_engine *engine = socket_of(base);
    struct socket_connection *self = &engine->connections[number];
    self->allowance += length;
    if (self->allowance > engine->settings.receive_buffer)
        self->allowance = engine->settings.receive_buffer;
    if (watch(engine, self) < 0)
        fail_later(engine, self, errno);
}

static void readable(struct socket_engine *engine, struct socket_connection *self)
{
    uint32_t number = (uint32_t)(self - engine->connections), generation = self->generation;
    for (int i = 0; i < READS && self->owned && !self->peer_closed; i++) {
        size_t room = engine->settings.manual_read && self->allowance < READ_BYTES ? self->allowance : READ_BYTES;
        if (!room)
            break;
        ssize_t length = recv(self->descriptor, engine->buffer, room, 0);
        if (length < 0 && errno != EAGAIN)
            fail(engine, self, errno);
        if (length < 0)
            break;
        self->peer_closed = length == 0;
        if (engine->settings.manual_read)
            self->allowance -= (size_t)length;
        if (length == 0)
            engine->base.events->peer_closed(engine->base.owner, number);
        else
            engine->base.events->received(engine->base.owner, number, engine->buffer, (size_t)length);
        if (self->generation != generation)
            return;
        if ((size_t)length < room)
            break;
    }
    if (self->generation == generation && watch(engine, self) < 0)
        fail(engine, self, errno);
}

static void established(struct socket_engine *engine, struct socket_connection *self)
{
    self->connecting = false;
    engine->slow_connects += engine->base.now_ns - self->started_ns > SYN_RETRY_MS * NS_PER_MS;
    if (self->owned)
        engine->base.events->connected(engine->base.owner, (uint32_t)(self - engine->connections));
}

static void handle(struct socket_engine *engine, const struct epoll_event *event)
{
    struct socket_connection *self = &engine->connections[event->data.u64 & UINT32_MAX];
    uint32_t generation = (uint32_t)(event->data.u64 >> 32);
    if (self->descriptor < 0 || self->generation != generation)
        return; /* the slot was used again within this batch of events */
    if (event->events & (EPOLLERR | EPOLLHUP)) {
        int error = 0;
        socklen_t length = sizeof error;
        getsockopt(self->descriptor, SOL_SOCKET, SO_ERROR, &error, &length);
        if (error) {
            fail(engine, self, error);
            return;
        }
    }
    if (self->connecting && event->events & EPOLLOUT)
        established(engine, self);
    if (self->generation != generation)
        return;
    if (event->events & EPOLLOUT && !flush(engine, self))
        return;
    if (event->events & (EPOLLIN | EPOLLHUP))
        readable(engine, self);
}

static int socket_wait(struct engine *base, uint64_t deadline_ns)
{
    struct socket_engine *engine = socket_of(base);
    struct epoll_event events[EVENTS];
    fail_broken(engine);
    uint64_t now = clock_now_ns(), left = deadline_ns > now ? deadline_ns - now : 0;
    struct timespec timeout = {.tv_sec = (time_t)(left / NS_PER_S), .tv_nsec = (long)(left % NS_PER_S)};
    int count = epoll_pwait2(engine->epoll, events, EVENTS, &timeout, NULL);
    for (int i = 0; i < count; i++) {
        base->now_ns = clock_now_ns();
        handle(engine, &events[i]);
    }
    base->now_ns = clock_now_ns();
    return count < 0 ? -1 : 0;
}

static uint32_t socket_open_connections(const struct engine *base)
{
    return ((const struct socket_engine *)base)->open;
}

static uint64_t socket_losses(const struct engine *base)
{
    return ((const struct socket_engine *)base)->slow_connects;
}

/* Segments and retransmissions are as TCP_INFO had them when a connection was given back: its FIN is not among them. The kernel
   tells nothing of the rest, so it is left out or, where every engine must name it, 0 because this engine has no such thing. */
static void socket_counters(struct engine *base, struct json *json)
{
    const struct socket_engine *engine = socket_of(base);
    json_uint(json, "frames_sent", engine->segments_sent);
    json_uint(json, "frames_received", engine->segments_received);
    json_uint(json, "ring_drops", 0);
    json_uint(json, "send_drops", 0);
    json_uint(json, "retransmissions", engine->retransmissions);
    json_uint(json, "resets_received", engine->resets_received);
    json_uint(json, "resets_sent", engine->resets_sent);
    json_uint(json, "not_understood", 0);
    json_uint(json, "slow_connects", engine->slow_connects);
}

static void socket_close(struct engine *base)
{
    struct socket_engine *engine = socket_of(base);
    for (uint32_t i = 0; engine->connections && i < engine->touched; i++)
        if (engine->connections[i].descriptor >= 0)
            socket_abort(base, i);
    if (engine->epoll >= 0)
        close(engine->epoll);
    free(engine->connections);
    free(engine->free_slots);
    free(engine);
}

static const struct engine_operations socket_operations = {
    .name = "socket",
    .open = socket_open,
    .connect = socket_connect,
    .send = socket_send,
    .confirm = socket_confirm,
    .finish = socket_finish,
    .abort = socket_abort,
    .read = socket_read,
    .wait = socket_wait,
    .open_connections = socket_open_connections,
    .losses = socket_losses,
    .counters = socket_counters,
    .close = socket_close,
};
ENGINE_REGISTER(socket_operations)
