/*
 * libFuzzer target for the reply parser, built by test_client_fuzz.py. Besides memory errors: however the bytes are cut, the
 * result is the same.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "http_reply.h"

/* Feeds pieces of `step` bytes; returns the result and how many bytes were used. */
static enum http_result feed(struct http_reply *reply, const uint8_t *bytes, size_t length, size_t step, bool no_body, size_t *used)
{
    enum http_result result = HTTP_MORE;
    http_reply_start(reply, no_body, true);
    *used = 0;
    while (*used < length && result == HTTP_MORE) {
        size_t size = length - *used < step ? length - *used : step, taken;
        uint8_t *piece = malloc(size); /* of exactly this size: a byte beyond it is an error */
        memcpy(piece, bytes + *used, size);
        result = http_reply_feed(reply, piece, size, &taken);
        assert(taken <= size && (result != HTTP_MORE || taken == size));
        *used += taken;
        free(piece);
    }
    return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    if (length < 2)
        return 0;
    struct http_reply whole, cut;
    size_t whole_used, cut_used, step = 1 + bytes[0] % 16;
    bool no_body = bytes[1] & 1;
    enum http_result expected = feed(&whole, bytes + 2, length - 2, length, no_body, &whole_used);
    enum http_result result = feed(&cut, bytes + 2, length - 2, step, no_body, &cut_used);
    assert(result == expected);
    if (result == HTTP_DONE)
        assert(whole_used == cut_used && whole.status == cut.status && whole.body_crc == cut.body_crc && whole.body_bytes == cut.body_bytes);
    http_reply_drop(&whole);
    http_reply_drop(&cut);
    return 0;
}
