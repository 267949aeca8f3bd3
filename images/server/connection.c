#include "connection.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "accounting.h"
#include "cache.h"

#define SCRATCH_ROOM (4 * HTTP_HEADER_LIMIT)
#define MOST_PENDING (1u << 16) /* completion: bytes of pipelined requests before receiving is held */
#define MOST_DRAINED (1u << 20) /* bytes thrown away before the connection is closed regardless */

enum ending { BY_PEER, BY_SERVER, BY_RESET };
enum progress {
    PROGRESS_DONE,    /* there may be more to do at once */
    PROGRESS_SHORT,   /* a read got less than it asked for: nothing is left but, perhaps, the end of the stream */
    PROGRESS_BLOCKED, /* EAGAIN */
    PROGRESS_FAILED,
};

static const struct mechanism *mechanism;
static struct connection *table;
static unsigned table_length;
static char scratch[SCRATCH_ROOM]; /* one read at a time: only leftovers need memory of their own */

int connections_open(const struct mechanism *chosen, unsigned descriptors)
{
    mechanism = chosen;
    table = calloc(descriptors, sizeof *table);
    table_length = descriptors;
    return table ? 0 : -1;
}

/* Resets what is still open: closed in order, ten thousand sockets would go on saying goodbye to peers that may be gone. */
void connections_close(void)
{
    const struct linger reset = {.l_onoff = 1, .l_linger = 0};
    for (unsigned i = 0; i < table_length; i++) {
        if (table[i].state != CONNECTION_FREE && table[i].state != CONNECTION_LISTENER)
            setsockopt((int)i, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        free(table[i].pending);
    }
    free(table);
}

struct connection *connection_at(int descriptor)
{
    return (unsigned)descriptor < table_length ? &table[descriptor] : NULL;
}

struct identity connection_identity(const struct connection *connection)
{
    return (struct identity){.descriptor = (int)(connection - table), .generation = connection->generation};
}

static int descriptor_of(const struct connection *connection)
{
    return (int)(connection - table);
}

/* Without memory for a connection the server ends it, which also relieves the shortage; all else is the peer's doing. */
static enum ending ending_of(int error)
{
    return error == ENOBUFS || error == ENOMEM ? BY_SERVER : BY_RESET;
}

void connection_mark_listener(int descriptor, bool listening)
{
    table[descriptor].generation++;
    table[descriptor].state = listening ? CONNECTION_LISTENER : CONNECTION_FREE;
}

static void drop_pending(struct connection *connection)
{
    free(connection->pending);
    connection->pending = NULL;
    connection->pending_length = 0;
}

static void end(struct connection *connection, enum ending ending)
{
    struct identity who = connection_identity(connection);
    accounting.interest_changes++;
    /* Failures of either leave nothing to do: the entry is free in any case, and the calls are counted. */
    if (mechanism->finish) {
        (void)mechanism->finish(who);
    } else {
        (void)mechanism->del(who);
        (void)counted_close(who.descriptor);
    }
    drop_pending(connection);
    uint32_t generation = connection->generation + 1;
    memset(connection, 0, sizeof *connection);
    connection->generation = generation;
    accounting.open_connections--;
    accounting.closed_by_peer += ending == BY_PEER;
    accounting.closed_by_server += ending == BY_SERVER;
    accounting.resets += ending == BY_RESET;
}

/* Appends to what is pending. False if there is no memory. */
static bool keep(struct connection *connection, const char *data, size_t length)
{
    if (length == 0)
        return true;
    char *larger = realloc(connection->pending, connection->pending_length + length);
    if (!larger)
        return false;
    memcpy(larger + connection->pending_length, data, length);
    connection->pending = larger;
    connection->pending_length += (uint32_t)length;
    return true;
}

/* Takes the next request off `data` (nothing may be pending) and keeps the rest. False if there is no memory. */
static bool advance(struct connection *connection, const char *data, size_t length)
{
    static struct http_request request; /* 1 KiB of path: no need to have it on the stack */
    switch (http_parse(data, length, &request)) {
    case HTTP_INCOMPLETE:
        connection->state = CONNECTION_READING;
        return keep(connection, data, length);
    case HTTP_REQUEST:
        connection->state = CONNECTION_WRITING;
        connection->reply = reply_for_request(&request);
        connection->close_after = !request.keep_alive;
        return keep(connection, data + request.length, length - request.length);
    case HTTP_FAULT:
        accounting.bad_requests++;
        connection->state = CONNECTION_WRITING;
        connection->reply = reply_for_fault(request.status);
        connection->close_after = connection->drain_after = true;
        return true;
    }
    return false;
}

/* The same with what is pending. */
static bool advance_pending(struct connection *connection)
{
    char *data = connection->pending;
    size_t length = connection->pending_length;
    connection->pending = NULL;
    connection->pending_length = 0;
    bool kept = advance(connection, data, length);
    free(data);
    return kept;
}

static bool drain(struct connection *connection, size_t length)
{
    connection->drained += (uint32_t)length;
    return connection->drained <= MOST_DRAINED;
}

/* One read. FAILED: the connection is gone. */
static enum progress do_read(struct connection *connection)
{
    size_t before = connection->pending_length;
    size_t room = sizeof scratch - before; /* pending is less than a header: a longer one is a fault */
    ssize_t got = counted_read(descriptor_of(connection), scratch + before, room);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return errno == EINTR ? PROGRESS_DONE : PROGRESS_BLOCKED;
    bool usable = got > 0;
    if (usable && connection->state == CONNECTION_DRAINING) {
        usable = drain(connection, (size_t)got);
        if (!usable)
            got = 1; /* the server has had enough */
    } else if (usable) {
        if (before)
            memcpy(scratch, connection->pending, before);
        drop_pending(connection);
        usable = advance(connection, scratch, before + (size_t)got);
    }
    if (!usable) {
        end(connection, got < 0 ? ending_of(errno) : got == 0 ? BY_PEER : BY_SERVER);
        return PROGRESS_FAILED;
    }
    return (size_t)got < room ? PROGRESS_SHORT : PROGRESS_DONE;
}

static void consume(struct reply *reply, size_t sent)
{
    size_t of_head = sent < reply->head_length ? sent : reply->head_length;
    reply->head += of_head;
    reply->head_length -= of_head;
    reply->body_offset += (off_t)(sent - of_head);
    reply->body_length -= sent - of_head;
}

/* As much of the reply as the socket takes: cork, header, body, uncork. FAILED: the connection is gone. */
static enum progress transmit(struct connection *connection)
{
    int descriptor = descriptor_of(connection);
    struct reply *reply = &connection->reply;
    if (!connection->started && reply->body_length > 0) {
        (void)counted_cork(descriptor, true); /* only an optimisation: a dead peer shows in the write */
        connection->started = true;
    }
    while (reply->head_length || reply->body_length) {
        bool header = reply->head_length > 0;
        off_t offset = reply->body_offset;
        ssize_t sent = header ? counted_write(descriptor, reply->head, reply->head_length)
                              : counted_sendfile(descriptor, cache_descriptor(), &offset, reply->body_length);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno == EAGAIN)
            return PROGRESS_BLOCKED;
        if (sent <= 0) {
            end(connection, ending_of(errno));
            return PROGRESS_FAILED;
        }
        consume(reply, (size_t)sent);
    }
    if (connection->started)
        (void)counted_cork(descriptor, false);
    connection->started = false;
    return PROGRESS_DONE;
}

/* The reply is out: what comes next? False if the connection is gone. */
static bool after_reply(struct connection *connection)
{
    accounting.replies++;
    if (connection->drain_after && counted_shutdown_write(descriptor_of(connection)) == 0) {
        drop_pending(connection);
        connection->state = CONNECTION_DRAINING;
        return true;
    }
    if (connection->close_after) {
        end(connection, BY_SERVER);
        return false;
    }
    connection->state = CONNECTION_READING;
    if (connection->pending_length == 0 || advance_pending(connection))
        return true;
    end(connection, BY_SERVER);
    return false;
}

static unsigned wanted_events(const struct connection *connection)
{
    return connection->state == CONNECTION_WRITING ? EVENT_WRITE : EVENT_READ;
}

/* Tells the mechanism what the state waits for, if that is news and the mechanism is one that is told. */
static void update_interest(struct connection *connection)
{
    unsigned wanted = wanted_events(connection);
    if (mechanism->fixed_interest || connection->interest == wanted)
        return;
    accounting.interest_changes++;
    if (mechanism->mod(connection_identity(connection), wanted) == 0)
        connection->interest = (uint8_t)wanted;
    else /* it would never be heard of again */
        end(connection, BY_SERVER);
}

int connection_start(int descriptor)
{
    struct connection *connection = connection_at(descriptor);
    if (!connection) {
        (void)counted_close(descriptor);
        errno = EMFILE;
        return -1;
    }
    if (connection->state != CONNECTION_FREE) {
        /* The mechanism closed it behind its last reply; the word of that stands behind this event, and will be stale. */
        accounting.replies++;
        end(connection, BY_SERVER);
    }
    unsigned interest = mechanism->fixed_interest ? EVENT_READ | EVENT_WRITE : EVENT_READ;
    connection->state = CONNECTION_READING;
    connection->interest = (uint8_t)interest;
    struct identity who = connection_identity(connection);
    accounting.interest_changes++;
    int result = mechanism->recv ? mechanism->recv(who) : mechanism->add(who, interest);
    if (result != 0) {
        int saved = errno;
        connection->state = CONNECTION_FREE;
        (void)counted_close(descriptor);
        errno = saved;
        return -1;
    }
    accounting.accepted++;
    accounting.open_connections++;
    return 0;
}

/* Does what the state wants next. False if the connection is gone. */
static bool step(struct connection *connection, unsigned wanted, enum progress *progress)
{
    if (wanted == EVENT_READ) {
        *progress = do_read(connection);
        return *progress != PROGRESS_FAILED;
    }
    *progress = transmit(connection);
    return *progress == PROGRESS_BLOCKED || (*progress == PROGRESS_DONE && after_reply(connection));
}

/* Whether what was ready still is. After a hangup a short read proves nothing: the end of stream may stand behind it. */
static bool still_ready(enum progress progress, unsigned ready)
{
    return progress == PROGRESS_DONE || (progress == PROGRESS_SHORT && (ready & EVENT_HANGUP));
}

static bool readiness(struct connection *connection, unsigned ready)
{
    bool acted = false;
    for (unsigned wanted; ready & (wanted = wanted_events(connection)); acted = true) {
        enum progress progress;
        if (!step(connection, wanted, &progress))
            return true;
        /* Level-triggered: once each, what is left will be reported again. */
        if (!mechanism->edge_triggered || !still_ready(progress, ready))
            ready &= ~wanted;
        if (progress == PROGRESS_BLOCKED)
            ready &= ~(unsigned)EVENT_HANGUP;
    }
    if (mechanism->edge_triggered)
        connection->ready = (uint8_t)ready;
    else
        update_interest(connection);
    return acted;
}

/* Completion: sends what there is to send, and receives again if that was held. Ends the connection if neither works. */
static void go_on(struct connection *connection)
{
    struct reply *reply = &connection->reply;
    int result = 0;
    if (connection->state == CONNECTION_WRITING) {
        connection->parts[0] = (struct iovec){(void *)reply->head, reply->head_length};
        connection->parts[1] = (struct iovec){(void *)(cache_bytes() + reply->body_offset), reply->body_length};
        bool last = connection->close_after && !connection->drain_after;
        result = mechanism->send(connection_identity(connection), connection->parts, reply->body_length ? 2 : 1, last);
    } else if (connection->peer_finished) {
        end(connection, BY_PEER);
    } else if (connection->held) {
        connection->held = false;
        result = mechanism->recv(connection_identity(connection));
    }
    if (result != 0)
        end(connection, BY_SERVER);
}

static void received(struct connection *connection, const struct event *event)
{
    bool writing = connection->state == CONNECTION_WRITING, usable = true;
    size_t length = event->result > 0 ? (size_t)event->result : 0;
    if (event->result < 0) {
        end(connection, ending_of(-event->result));
        return;
    }
    connection->peer_finished = event->result == 0;
    if (connection->state == CONNECTION_DRAINING) {
        usable = drain(connection, length);
    } else if (writing || connection->pending_length) {
        usable = keep(connection, event->data, length);
        if (usable && !writing && length)
            usable = advance_pending(connection);
    } else if (length) {
        usable = advance(connection, event->data, length);
    }
    if (usable && connection->pending_length > MOST_PENDING && mechanism->hold && !connection->held) {
        connection->held = true;
        usable = mechanism->hold(connection_identity(connection)) == 0;
    }
    if (!usable)
        end(connection, BY_SERVER);
    else if (!writing)
        go_on(connection);
}

static void sent(struct connection *connection, int result)
{
    if (result <= 0) {
        end(connection, ending_of(-result));
        return;
    }
    consume(&connection->reply, (size_t)result);
    if (connection->reply.head_length || connection->reply.body_length || after_reply(connection))
        go_on(connection);
}

bool connection_event(const struct event *event)
{
    struct connection *connection = &table[event->who.descriptor];
    if (event->ready & EVENT_FAILED)
        end(connection, BY_SERVER);
    else if (event->ready & EVENT_RECEIVED)
        received(connection, event);
    else if (event->ready & EVENT_SENT)
        sent(connection, event->result);
    else
        return readiness(connection, event->ready | connection->ready);
    return true;
}
